"""Requests byte by byte as real shippers send them, from the folder that DPIPE_TEST_DATA names."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dpiped.testing import address_of, events_in, running, until

FOLDER = Path(os.environ.get("DPIPE_TEST_DATA", "")) / "http"
INDEX: list[dict[str, Any]] = (
    json.loads((FOLDER / "index.json").read_text("utf-8")) if os.environ.get("DPIPE_TEST_DATA") else []
)
ADDED = {"@timestamp", "_host", "_source"}

pytestmark = pytest.mark.skipif(not INDEX, reason="DPIPE_TEST_DATA does not name the folder with recorded requests")


def config(out: Path) -> str:
    return (
        '[[project]]\nname = "rs"\n[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\nkeep_old = true\n'
        f'[[output]]\ntype = "file"\npath = "{out}"\n'
    )


async def send(address: str, request: bytes) -> tuple[int, bytes]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    status, body = await read_answer(reader)
    if status == 100:
        status, body = await read_answer(reader)
    writer.close()
    return status, body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split()[1])
    length = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return status, await reader.readexactly(int(length[0])) if length and status != 100 else b""


def same(stored: dict[str, Any], sent: dict[str, Any]) -> bool:
    """Equal, apart from what dpipe adds; a textual time may have become milliseconds."""
    mine = {name: value for name, value in stored.items() if name not in ADDED or name in sent}
    if isinstance(sent.get("@timestamp"), str):
        assert isinstance(mine["@timestamp"], int)
        mine["@timestamp"] = sent["@timestamp"]
    return mine == sent


@pytest.mark.parametrize("entry", INDEX, ids=[entry["file"] for entry in INDEX])
async def test_request(entry: dict[str, Any], tmp_path: Path) -> None:
    async with running(config(tmp_path / "{ident}.ndjson"), tmp_path) as engine:
        request = (FOLDER / entry["file"]).read_bytes()
        if request.startswith(b"HEAD"):
            host, _, port = address_of(engine, "http").rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request)
            assert (await reader.readline()).split()[1] == b"200"
            writer.close()
            return
        status, body = await send(address_of(engine, "http"), request)
        answer = json.loads(body)
        if entry["status"] is not None:
            assert status == entry["status"], answer
        if entry["events"] is None or status != 200:
            return
        assert answer["accepted"] == len(entry["events"])
        if answer["accepted"]:
            await until(lambda: len(events_in(tmp_path.glob("*.ndjson"))) >= answer["accepted"])
    stored = events_in(tmp_path.glob("*.ndjson"))
    assert len(stored) == len(entry["events"])
    for event in entry["events"]:
        assert any(same(mine, event) for mine in stored), (event, stored)

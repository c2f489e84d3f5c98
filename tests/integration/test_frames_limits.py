"""Frames that are small and stand for a lot: neither memory nor the event loop is theirs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import zstandard

from dpiped.api import Frame, encode_frame, iter_frames
from dpiped.engine import Engine
from dpiped.pack import Head
from dpiped.testing import address_of, running, until

CONFIG = """
[[input]]
type = "http"
listen = "127.0.0.1:0"
[[output]]
type = "discard"
"""
LARGE = zstandard.ZstdCompressor().compress(b"\n" * (40 << 20))


def frame(body: bytes, encoding: str = "", seq: int = -1) -> bytes:
    head = Head(project="default", ident="app", count=1, raw_bytes=7, encoding=encoding)
    if seq >= 0:
        head = Head(project="default", ident="app", count=1, raw_bytes=7, encoding=encoding, stream="s", seq=seq)
    return encode_frame(Frame(head, body))


async def post_frames(engine: Engine, data: bytes) -> int:
    url, headers = f"http://{address_of(engine, 'http')}/ingest", {"Content-Type": "application/x-dpipe"}
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
        return answer.status


async def test_all_frames_of_a_request_share_one_limit(tmp_path: Path) -> None:
    async with running(CONFIG, tmp_path) as engine:
        assert await post_frames(engine, frame(LARGE, "zstd") * 2) == 413
        assert await post_frames(engine, frame(LARGE, "zstd")) == 200
        assert engine.inputs[0].intake.unpacked.bytes == 0
        assert engine.journal.next == 0


async def test_all_requests_share_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.unpacked.MAX_ALL_BYTES", 50 << 20)
    async with running(CONFIG, tmp_path) as engine:
        answers = await asyncio.gather(*(post_frames(engine, frame(LARGE, "zstd")) for _ in range(4)))
        assert sorted(answers)[0] == 200
        assert 503 in answers
        await until(lambda: engine.inputs[0].intake.unpacked.bytes == 0)
        assert await post_frames(engine, frame(LARGE, "zstd")) == 200


async def test_thousands_of_tiny_frames_leave_the_event_loop_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(CONFIG, tmp_path) as engine:
        intake, turns, turns_at_append = engine.inputs[0].intake, 0, 0
        append = intake._append

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def appending(*args: Any, **more: Any) -> bool:
            nonlocal turns_at_append
            turns_at_append = turns
            return await append(*args, **more)

        monkeypatch.setattr(intake, "_append", appending)
        frames = [frame(b'{"@timestamp":1700000000000}\n', seq=number) for number in range(4_000)]
        task = asyncio.create_task(others())
        await asyncio.sleep(0)
        before = turns
        assert (await intake.frames(list(iter_frames(b"".join(frames))))).accepted == 4_000
        task.cancel()
        assert turns_at_append - before >= 10

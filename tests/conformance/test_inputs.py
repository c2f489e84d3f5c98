"""One behaviour for every input: it hands over what it read in order, closes in any case, and ends when cancelled.

A new input fails here until it has a case in CASES.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from dpiped import registry
from dpiped.codecs import Codec, DecodeContext, build_codec
from dpiped.plugin import Input, PluginContext, Receipt
from dpiped.projection import Projection
from dpiped.telemetry import Telemetry
from dpiped.testing import until
from tests.leaks import assert_leaves_nothing
from tests.servers.kafka_stub import kafka_stub, produce

TEXTS = ["one", "zwei – 二", "three  ", "{4}", "five"]


class Case(NamedTuple):
    """How to set an input up and what to feed it."""

    config: Callable[[Path], dict[str, Any]]
    feed: Callable[[Input[Any], Path], Awaitable[None]]
    """Gives it TEXTS, in order."""
    text_of: Callable[[dict[str, Any]], str] = lambda event: str(event.get("message"))
    texts: list[str] = TEXTS
    broken: Callable[[Path], dict[str, Any]] | None = None
    """A config with which `open` fails."""


def lines() -> bytes:
    return b"".join(text.encode() + b"\n" for text in TEXTS)


async def nothing(plugin: Input[Any], folder: Path) -> None:
    """It makes its events by itself, or has read them already."""


async def post_lines(plugin: Input[Any], folder: Path) -> None:
    url = f"http://{plugin.status()['address']}/ingest/rs/app?codec=raw"
    async with aiohttp.ClientSession() as session, session.post(url, data=lines()) as answer:
        assert answer.status == 200


async def send_syslog(plugin: Input[Any], folder: Path) -> None:
    host, port = str(plugin.status()["address"]).rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    for text in TEXTS:
        writer.write(f"<13>1 2026-01-01T00:00:00Z h app - - - {text}\n".encode())
    await writer.drain()
    writer.close()


def tailed(folder: Path) -> dict[str, Any]:
    (folder / "app.log").write_bytes(lines())
    return {"paths": [str(folder / "*.log")]}


def topic_of(folder: Path) -> dict[str, Any]:
    """All messages are in one partition, so that they keep their order."""
    if not _stubs:
        _stubs.append(kafka_stub())
        _addresses.append(_stubs[0].__enter__())
    topic = folder.name[:40]
    produce(_addresses[0], topic, [json.dumps({"message": text}).encode() for text in TEXTS])
    return {"brokers": [_addresses[0]], "topics": [topic], "group": topic, "linger_secs": 0.02}


_stubs: list[Any] = []
"""Brokers that live as long as the process."""
_addresses: list[str] = []


def taken_port() -> str:
    """A port that is in use for as long as the process lives."""
    one = socket.create_server(("127.0.0.1", 0))
    _held.append(one)
    return f"127.0.0.1:{one.getsockname()[1]}"


_held: list[socket.socket] = []


def archived(folder: Path) -> dict[str, Any]:
    (folder / "a.gz").write_bytes(gzip.compress(b"".join(b"%s\n" % json.dumps({"message": t}).encode() for t in TEXTS)))
    return {"paths": [str(folder / "*.gz")]}


def in_containers(folder: Path) -> dict[str, Any]:
    lines = [json.dumps({"log": text + "\n", "stream": "stdout", "time": "2026-01-01T00:00:00Z"}) for text in TEXTS]
    (folder / "0123456789ab-json.log").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return {"paths": [str(folder / "*-json.log")]}


def in_systemd(folder: Path) -> dict[str, Any]:
    """A program that answers as journalctl does, and stays."""
    entries = "".join(json.dumps({"__CURSOR": str(n), "MESSAGE": text}) + "\n" for n, text in enumerate(TEXTS))
    (folder / "entries").write_text(entries, encoding="utf-8")
    program = folder / "journalctl"
    program.write_text(f"#!/bin/sh\ncat {folder}/entries\nexec sleep 60\n", encoding="utf-8")
    program.chmod(0o755)
    return {"command": str(program)}


CASES = {
    "archive": Case(archived, nothing, broken=lambda folder: {"paths": [str(folder / "absent-*")]}),
    "demo": Case(lambda folder: {"count": 5, "rate": 1000, "format": "syslog"}, nothing, lambda event: "", [""] * 5),
    "docker": Case(in_containers, nothing),
    "journald": Case(in_systemd, nothing),
    "http": Case(lambda folder: {"listen": "127.0.0.1:0"}, post_lines, broken=lambda folder: {"listen": taken_port()}),
    "kafka": Case(
        topic_of, nothing, broken=lambda folder: {**topic_of(folder), "properties": {"session.timeout.ms": "often"}}
    ),
    "selfsys": Case(lambda folder: {"every_secs": 0.05}, nothing, lambda event: "", [""] * 2),
    "stdin": Case(lambda folder: {}, nothing),
    "syslog": Case(
        lambda folder: {"transport": "tcp", "listen": "127.0.0.1:0"},
        send_syslog,
        broken=lambda folder: {"transport": "tcp", "listen": taken_port()},
    ),
    "tail": Case(tailed, nothing),
}
ALL = sorted(name for kind, name in registry.all_types() if kind == "input")


class Taken:
    """Stands for the intake: decodes, remembers, is durable at once."""

    def __init__(self, default: Codec) -> None:
        self.events: list[dict[str, Any]] = []
        self._default = default

    async def __call__(self, data: bytes, *, codec: Codec | None = None, **_: Any) -> Receipt:
        decoded = (codec or self._default).decode(data, DecodeContext(1, Projection.of([])))
        for part in decoded.parts:
            self.events += map(json.loads, part.body.splitlines())
        return Receipt(decoded.accepted, len(decoded.rejected))

    async def frames(self, frames: Any) -> Receipt:
        raise AssertionError("no case sends frames")


def build(name: str, config: dict[str, Any]) -> Input[Any]:
    plugin_class = registry.get("input", name)
    assert plugin_class is not None
    context = PluginContext(name=name, telemetry=Telemetry(), codec=build_codec)
    plugin = plugin_class(plugin_class.config_class(**config), context)
    assert isinstance(plugin, Input)
    return plugin


@pytest.fixture
def case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    assert name in CASES, f"input {name!r} has no case in {__file__}"
    if name == "stdin":
        read, write = os.pipe()
        os.write(write, lines())
        cls = registry.get("input", "stdin")
        monkeypatch.setattr(cls, "descriptor", read)
        _pipes.append(write)
    return CASES[name]


_pipes: list[int] = []
"""Writing ends that stay open, so that a pipe does not end by itself."""


@pytest.mark.parametrize("name", ALL)
async def test_events_come_in_order_and_cancelling_ends_it(name: str, case: Case, tmp_path: Path) -> None:
    plugin = build(name, case.config(tmp_path))
    taken = Taken(build_codec(plugin.default_codec))
    await plugin.open()
    task = asyncio.create_task(plugin.run(taken))
    await case.feed(plugin, tmp_path)
    await until(lambda: len(taken.events) >= len(case.texts))
    assert [case.text_of(event) for event in taken.events][: len(case.texts)] == case.texts
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=1)
    await plugin.close()
    assert done, "it did not end within a second of being cancelled"


@pytest.mark.parametrize("name", ALL)
async def test_it_can_be_opened_and_closed_again_and_again(name: str, case: Case, tmp_path: Path) -> None:
    async def once() -> None:
        plugin = build(name, case.config(tmp_path))
        await plugin.open()
        await plugin.close()

    await assert_leaves_nothing(once)


@pytest.mark.parametrize("name", ALL)
async def test_it_closes_without_having_been_opened_and_after_a_failed_open(
    name: str, case: Case, tmp_path: Path
) -> None:
    await build(name, case.config(tmp_path)).close()
    if case.broken is not None:
        plugin = build(name, case.broken(tmp_path))
        with pytest.raises(Exception, match=r"."):
            await plugin.open()
        await plugin.close()


@pytest.mark.parametrize("name", ALL)
def test_the_constructor_does_no_io(name: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = case.config(tmp_path)
    monkeypatch.setattr("socket.socket.bind", None)
    monkeypatch.setattr("os.open", None)
    assert build(name, config).status is not None

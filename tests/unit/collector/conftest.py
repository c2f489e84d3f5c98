"""A daemon for tests: keeps what it is sent, recognises batches as the contract says, and misbehaves when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from collector.collector import Collector
from collector.config import CollectorConfig, Config, TailInput
from collector.sender import Pauses
from dpiped.compression import decompress
from dpiped.journal.record import iter_frames
from dpiped.telemetry import Telemetry

Action = int | str
"""A status to answer (nothing is stored), "lose" (stored, no answer), "drop" (not stored, no answer), "kill" and "kill
stored" (the same, and `on_kill` is called)."""


class Sink:
    """Answers `actions` in order, then behaves well."""

    def __init__(self, *actions: Action) -> None:
        self.actions = list(actions)
        self.lines: list[str] = []
        self.frames: list[Any] = []
        self.streams: dict[str, tuple[int, str]] = {}
        self.requests: list[tuple[str, int]] = []
        self.tokens: list[str] = []
        self.most_lines = 0
        """Above it a body is answered 413; 0: any size is taken."""
        self.on_kill: Callable[[], None] = lambda: None
        self.changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Sink:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/ingest", self._ingest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until a request made the condition true."""
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def _ingest(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        stream, seq, nonce = request.headers["X-Dpipe-Batch"].split("/")
        self.requests.append((stream, int(seq)))
        self.tokens.append(request.headers.get("Authorization", ""))
        frames = list(iter_frames(body))
        assert {(f.head.stream, f.head.seq, f.head.nonce) for f in frames} == {(stream, int(seq), nonce)}
        try:
            return self._answer(request, frames, stream, int(seq), nonce)
        finally:
            self.changed.set()

    def _answer(self, request: web.Request, frames: list[Any], stream: str, seq: int, nonce: str) -> web.StreamResponse:
        action: Action = self.actions.pop(0) if self.actions else 200
        if isinstance(action, int) and action != 200:
            return web.Response(status=action, text="as told", headers={"Retry-After": "0"})
        texts = [decompress(f.head.encoding, f.body, 1 << 26).decode().splitlines() for f in frames]
        count = sum(map(len, texts))
        if self.most_lines and count > self.most_lines:
            return web.Response(status=413)
        duplicate = False
        if action in (200, "lose", "kill stored"):
            known = self.streams.get(stream, (0, ""))
            duplicate = known == (seq, nonce)
            if not duplicate and seq <= known[0]:
                return web.Response(status=409)
            if not duplicate:
                self.streams[stream] = (seq, nonce)
                self.frames += frames
                self.lines += [line for text in texts for line in text]
        if isinstance(action, str):
            if action.startswith("kill"):
                self.on_kill()
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"accepted": count, "rejected": 0, "errors": [], "duplicate": duplicate})


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits for what sets no event."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def quick() -> Pauses:
    return Pauses(0.001, 0.005)


def build(folder: Path, *endpoints: str, **options: Any) -> Collector:
    """A collector that tails `folder/logs/*.log`, in a hurry."""
    settings = {"batch_secs": 0.01, "status": "127.0.0.1:0", "data_dir": str(folder / "data")}
    collector = CollectorConfig(endpoints=endpoints, **(settings | options))
    tail = TailInput(type="tail", name="tail", paths=(f"{folder}/logs/*.log",), ident="rs.{stem}", project="rs")
    return Collector(Config(collector, (tail,)), Telemetry(), pauses=quick)


def kill(collector: Collector, task: asyncio.Task[bool]) -> None:
    """As kill -9: what is on disk stays, and nothing more gets there."""
    collector._checkpoint.path = None
    task.cancel()


@pytest.fixture
def kit(tmp_path: Path) -> SimpleNamespace:
    """What the tests of this folder share: `Sink`, `build`, `kill`, and the folder with its log `app.log`."""
    (tmp_path / "logs").mkdir()
    return SimpleNamespace(
        Sink=Sink, eventually=eventually, build=build, kill=kill, folder=tmp_path, log=tmp_path / "logs" / "app.log"
    )

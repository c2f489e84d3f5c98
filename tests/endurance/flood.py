"""A flood of numbered events over HTTP, and a web service that is as slow as wanted."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web

FILLING = "x" * 250


class Flood:
    """Some senders that POST as fast as they are answered, or `per_second` events a second; 503 is waited out."""

    def __init__(self, url: str, senders: int = 4, per_post: int = 200, per_second: float = 0.0) -> None:
        self._url, self._senders, self._per_post, self._per_second = url, senders, per_post, per_second
        self.accepted = 0
        """Events that got a 200; their numbers are 0 .. accepted - 1."""
        self.refusals = 0
        self.refused = asyncio.Event()
        """There was one."""
        self._begun = 0
        self._left: int | None = None
        self._stop = asyncio.Event()

    async def run(self, events: int | None = None) -> None:
        """Until so many events are accepted, or until `stop`."""
        self._left = events
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(self._senders):
                group.create_task(self._send(session))

    def stop(self) -> None:
        """What was begun is finished."""
        self._stop.set()

    async def _send(self, session: aiohttp.ClientSession) -> None:
        pause = self._senders * self._per_post / self._per_second if self._per_second else 0.0
        while not self._stop.is_set() and (self._left is None or self._begun < self._left):
            first, self._begun = self._begun, self._begun + self._per_post
            now = int(time.time() * 1000)
            lines = [
                b'{"@timestamp":%d,"n":%d,"area":"a%d","text":"%s"}\n' % (now, n, n % 7, FILLING.encode())
                for n in range(first, first + self._per_post)
            ]
            began = time.monotonic()
            await self._deliver(session, b"".join(lines))
            self.accepted += self._per_post
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))

    async def _deliver(self, session: aiohttp.ClientSession, body: bytes) -> None:
        while True:
            async with session.post(self._url, data=body) as answer:
                text = await answer.text()
                if answer.status == 200:
                    return
                assert answer.status == 503, f"{answer.status} {text}"
                self.refusals += 1
                self.refused.set()
                await asyncio.sleep(float(answer.headers["Retry-After"]) * 0.2)


class Sink:
    """A web service that takes `secs` for each request and remembers the numbers of all events."""

    def __init__(self, secs: float = 0.0) -> None:
        self.secs = secs
        self.seen: Counter[int] = Counter()
        self.address = ""

    async def __aenter__(self) -> Sink:
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        await asyncio.sleep(self.secs)
        self.seen.update(json.loads(line)["n"] for line in body.splitlines())
        return web.Response()


def numbers_in(file: Path) -> Counter[int]:
    """How often each number is in the file."""
    if not file.exists():
        return Counter()
    with file.open("rb") as lines:
        return Counter(int(line.partition(b'"n":')[2].partition(b",")[0]) for line in lines)

"""Output `http`: what one answer means for a batch."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dpiped.testing import until
from dpiped.testing.parts import parts
from plugins.outputs.http import HttpOutput, HttpOutputConfig


class Service:
    """Takes bodies of at most `most` bytes; `taken` are the numbers of what it took, in order."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: list[int] = []

    async def answer(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        if len(body) > self.most:
            return web.Response(status=413, text="too large")
        self.taken += [json.loads(line)["n"] for line in body.splitlines()]
        return web.Response()


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(service.answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}/".format(*runner.addresses[0][:2])
    await runner.cleanup()


def event(number: int, filling: int = 0) -> bytes:
    return b'{"@timestamp":1700000000000,"n":%d,"text":"%b"}\n' % (number, b"x" * filling)


@pytest.mark.parametrize("most", [200, 1_000])
async def test_a_batch_that_is_too_large_is_halved(tmp_path: Path, most: int) -> None:
    service = Service(most)
    async with serving(service) as url, parts(tmp_path) as world:
        config = HttpOutputConfig.model_validate({"url": url})
        runner: Any = world.output(HttpOutput, config, metadata=False)
        await world.append(b"".join(event(n) for n in range(20)), event(20, filling=2_000), event(21))
        await world.start(runner)
        await until(lambda: runner.reader.cursor == 3)
        letters = list(world.around.deadletters.scan())
    assert service.taken == [*range(20), 21]
    assert [(letter.raw, letter.reason) for letter in letters] == [(event(20, 2_000)[:-1], "413 too large")]

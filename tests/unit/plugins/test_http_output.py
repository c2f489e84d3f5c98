"""Output `http`: what one answer means for a batch."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dpiped.testing import until
from dpiped.testing.parts import parts
from plugins.outputs.http import HttpOutput, HttpOutputConfig


class Service:
    """Takes bodies of at most `most` bytes without a number of `bad`; `taken` are those of what it took, in order.
    Its answers to the requests in `away` are 503.
    """

    def __init__(self, most: int = 1 << 20, bad: Container[int] = (), status: int = 400) -> None:
        self.most, self.bad, self.status = most, bad, status
        self.taken: list[int] = []
        self.requests = 0
        self.away: Container[int] = ()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        self.requests += 1
        if self.requests in self.away:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if len(body) > self.most:
            return web.Response(status=413, text="too large")
        numbers = [one["n"] for one in (json.loads(body) if body[:1] == b"[" else map(json.loads, body.splitlines()))]
        bad = [number for number in numbers if number in self.bad]
        if bad:
            return web.Response(status=self.status, text=f"not {bad[0]}")
        self.taken += numbers
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


async def delivered(tmp_path: Path, service: Service, count: int, **config: Any) -> dict[int, str]:
    """Why events became dead letters, of `count` that come in one batch."""
    async with serving(service) as url, parts(tmp_path) as world:
        runner: Any = world.output(HttpOutput, HttpOutputConfig.model_validate({"url": url, **config}), metadata=False)
        await world.append(b"".join(event(n) for n in range(count)))
        await world.start(runner)
        await until(lambda: runner.reader.cursor == 1)
        return {json.loads(letter.raw)["n"]: letter.reason for letter in world.around.deadletters.scan()}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("form", ["ndjson", "array"])
async def test_an_event_that_is_refused_costs_no_other(tmp_path: Path, status: int, form: str) -> None:
    service = Service(bad={0, 7, 19}, status=status)
    letters = await delivered(tmp_path, service, 20, format=form)
    assert service.taken == [n for n in range(20) if n not in service.bad]
    assert letters == {n: f"{status} not {n}" for n in (0, 7, 19)}


async def test_parts_that_were_taken_are_not_sent_again_when_the_service_goes_away(tmp_path: Path) -> None:
    service = Service(bad={13})
    service.away = range(4, 6)
    assert await delivered(tmp_path, service, 20) == {13: "400 not 13"}
    assert service.taken == [n for n in range(20) if n != 13]


async def test_a_service_that_takes_nothing_is_not_asked_for_each_event(tmp_path: Path) -> None:
    service = Service(bad=range(5_000))
    letters = await delivered(tmp_path, service, 5_000)
    assert sorted(letters) == list(range(5_000))
    assert service.requests < 250


async def test_many_in_a_row_that_are_refused_do_not_hold_up_what_is_behind(tmp_path: Path) -> None:
    service = Service(bad=range(1_000))
    letters = await delivered(tmp_path, service, 4_000)
    assert service.taken == list(range(1_000, 4_000))
    assert sorted(letters) == list(range(1_000))


async def test_another_status_is_one_of_the_request(tmp_path: Path) -> None:
    service = Service(bad={3}, status=404)
    assert len(await delivered(tmp_path, service, 20)) == 20
    assert service.requests == 1

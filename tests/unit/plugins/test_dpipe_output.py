"""Output `dpipe`: what becomes of a batch that was sent and not answered, or was refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dpiped.api import iter_frames
from dpiped.compression import decompress
from dpiped.testing import until
from dpiped.testing.parts import parts
from plugins.outputs.dpipe import DpipeConfig, DpipeOutput


@asynccontextmanager
async def slow(answer_secs: float) -> AsyncIterator[tuple[str, list[int]]]:
    """A daemon that takes everything, after so long; (its address, sizes of what it got)."""
    got: list[int] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        got.append(len(await request.read()))
        await asyncio.sleep(answer_secs)
        return web.Response()

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0][:2]), got
    await runner.cleanup()


async def test_what_may_have_arrived_is_counted_when_another_daemon_gets_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with slow(5) as (silent, asked), slow(0) as (other, got), parts(tmp_path) as world:
        options = {"endpoints": [silent, other], "timeout_secs": 0.1, "failover_after_secs": 0.3}
        runner: Any = world.output(DpipeOutput, DpipeConfig.model_validate(options), retry={"initial_secs": 0.01})
        await world.append(b'{"@timestamp":1}\n' * 7)
        await world.start(runner)
        await until(lambda: runner.reader.cursor == 1)
        noted = world.telemetry.metrics.noted.labels("out", "in_doubt")
    assert len(asked) > 1
    assert len(got) == 1
    assert noted._value.get() == 7
    (said,) = [one for one in caplog.records if "may have arrived" in one.getMessage()]
    assert said.details["detail"] == f"7 events go to {other}/ingest"  # type: ignore[attr-defined]


async def test_a_daemon_that_does_not_answer_is_told_as_that(tmp_path: Path) -> None:
    async with slow(5) as (silent, _), parts(tmp_path) as world:
        config = DpipeConfig.model_validate({"endpoints": [silent], "timeout_secs": 0.1})
        runner: Any = world.output(DpipeOutput, config)
        await world.append(b'{"@timestamp":1}\n')
        await world.start(runner)
        await until(lambda: bool(runner.last_error))
        assert runner.last_error == f"send to {silent}/ingest (TimeoutError)"


BAD = 3
"""Number of the event that the other daemon does not take."""


class Other:
    """A daemon that answers `status` and `text` to requests with the bad event; `taken` are the numbers it took."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        self.taken: list[int] = []

    async def answer(self, request: web.BaseRequest) -> web.Response:
        bodies = [decompress(frame.head.encoding, frame.body, 1 << 20) for frame in iter_frames(await request.read())]
        numbers = [json.loads(line)["n"] for body in bodies for line in body.splitlines()]
        if BAD in numbers:
            return web.Response(status=self.status, text=self.text)
        self.taken += numbers
        return web.Response()


@asynccontextmanager
async def serving(other: Other) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(other.answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0][:2])
    await runner.cleanup()


def event(number: int) -> bytes:
    return b'{"@timestamp":1700000000000,"n":%d}\n' % number


async def delivered(folder: Path, other: Other) -> list[tuple[bytes, str]]:
    """What became dead letters of five packs, the fourth of them bad."""
    async with serving(other) as url, parts(folder) as world:
        runner: Any = world.output(DpipeOutput, DpipeConfig.model_validate({"endpoints": [url]}))
        await world.append(*(event(n) for n in range(5)))
        await world.start(runner)
        await until(lambda: runner.reader.cursor == 5)
        return [(letter.raw, letter.reason) for letter in world.around.deadletters.scan()]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (413, "too large for the other daemon's max_body_bytes"),
        (422, "the other daemon cannot take it: frame with a host"),
    ],
)
async def test_only_the_pack_that_is_refused_becomes_a_dead_letter(tmp_path: Path, status: int, reason: str) -> None:
    other = Other(status, "frame with a host")
    assert await delivered(tmp_path, other) == [(event(BAD)[:-1], reason)]
    assert other.taken == [0, 1, 2, 4]


async def test_what_the_other_daemon_keeps_as_dead_letters_is_not_kept_twice(tmp_path: Path) -> None:
    other = Other(422, '{"accepted":0,"rejected":5,"errors":[]}')
    assert await delivered(tmp_path, other) == []
    assert other.taken == []

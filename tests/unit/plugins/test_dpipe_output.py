"""Output `dpipe`: what becomes of a batch that was sent and not answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dpiped.testing import until
from dpiped.testing.parts import parts
from plugins.outputs.dpipe import DpipeConfig, DpipeOutput


@asynccontextmanager
async def serving(answer_secs: float) -> AsyncIterator[tuple[str, list[int]]]:
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
    async with serving(5) as (silent, asked), serving(0) as (other, got), parts(tmp_path) as world:
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
    async with serving(5) as (silent, _), parts(tmp_path) as world:
        config = DpipeConfig.model_validate({"endpoints": [silent], "timeout_secs": 0.1})
        runner: Any = world.output(DpipeOutput, config)
        await world.append(b'{"@timestamp":1}\n')
        await world.start(runner)
        await until(lambda: bool(runner.last_error))
        assert runner.last_error == f"send to {silent}/ingest (TimeoutError)"

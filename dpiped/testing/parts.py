"""The parts of an engine without inputs, HTTP and config files: a journal written by hand, runners around any plugin.

    async with parts(tmp_path) as world:
        runner = world.output(MyOutput)
        await world.start(runner)
        await world.append(b'{"@timestamp":1}\\n', b'{"@timestamp":2}\\n')
        await until(lambda: runner.events == 2)

A second `parts` on the same folder is the daemon after a restart; on a copy of it, after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from dpiped.config.base import PluginConfig
from dpiped.config.locate import Place
from dpiped.config.schema import FilterOptions, OutputOptions, PluginTable
from dpiped.deadletter import DeadLetters
from dpiped.filter_runner import FilterRunner, StatefulFilterRunner
from dpiped.journal.append import Draft, Kind, Lot
from dpiped.journal.disk import DiskStorage
from dpiped.journal.journal import Journal
from dpiped.journal.state import Database, State
from dpiped.leveldb import LevelDb
from dpiped.output_runner import OutputRunner
from dpiped.pack import Head, PackPool
from dpiped.plugin import Filter, Output, StatefulFilter
from dpiped.router import Router
from dpiped.runner import Runner, Surroundings
from dpiped.telemetry import Telemetry

_PLACE = Place("test.toml")


class NoConfig(PluginConfig):
    """For plugins without keys."""


class Parts:
    """See the module; made by `parts`."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.journal = around.journal
        self.state = around.state
        self.telemetry = around.telemetry
        self.runners: dict[Runner[Any], asyncio.Task[None]] = {}

    async def append(self, *bodies: bytes, ident: str = "app", kind: Kind = "input", **head: Any) -> None:
        """One pack for each body, in a group of its own, since small packs of one group are gathered."""
        for body in bodies:
            fields = {"project": "rs", "accepted_ms": 1_000, "count": body.count(b"\n"), **head}
            draft = Draft(Head(ident=ident, raw_bytes=len(body), **fields), body)
            await self.journal.append("~hand", kind, [Lot([draft])])

    def output(self, plugin: type[Output[Any]], config: PluginConfig | None = None, **options: Any) -> OutputRunner:
        """A runner that is not started; `start = "earliest"` unless said otherwise."""
        table = OutputOptions(**{"type": "test", "name": "out", "start": "earliest", **options})
        return OutputRunner(PluginTable("output", table, plugin, config or NoConfig(), _PLACE), self.around)

    def filter(self, plugin: type[Filter[Any]], config: PluginConfig | None = None, **options: Any) -> FilterRunner:
        """The same for filters, stateful or not; they emit under `made`."""
        table = FilterOptions(**{"type": "test", "name": "flt", "start": "earliest", "ident": "made", **options})
        kind = StatefulFilterRunner if issubclass(plugin, StatefulFilter) else FilterRunner
        return kind(PluginTable("filter", table, plugin, config or NoConfig(), _PLACE), self.around)

    async def start(self, *runners: Runner[Any]) -> None:
        for runner in runners:
            await runner.attach()
        await self.state.complete()
        for runner in runners:
            self.runners[runner] = asyncio.create_task(runner.run(), name=f"runner {runner.name}")

    async def stop(self, runner: Runner[Any]) -> None:
        """As the engine stops it: cancelled, and waited for."""
        task = self.runners.pop(runner)
        task.cancel()
        await asyncio.wait((task,))


@asynccontextmanager
async def parts(
    folder: Path,
    *,
    cache_bytes: int = 1 << 20,
    segment_bytes: int = 64 << 20,
    max_bytes: int = 1 << 30,
    state: Database | None = None,
    snapshot_interval_secs: float = 0.05,
) -> AsyncIterator[Parts]:
    """Journal and state on disk in `folder`, opened and at the end closed. `state`: another database for the state."""
    telemetry, router, pool = Telemetry(), Router(), PackPool(cache_bytes)
    async with AsyncExitStack() as opened:
        found = State(state or LevelDb(folder / "state"), telemetry)
        opened.push_async_callback(found.close)
        found.open()
        letters = DeadLetters(LevelDb(folder / "deadletter"), telemetry)
        opened.callback(letters.close)
        letters.open()
        journal = Journal(
            DiskStorage(folder / "journal", segment_bytes),
            pool,
            telemetry,
            max_bytes=max_bytes,
            on_commit=router.commit,
            readers=lambda: router.readers,
        )
        opened.push_async_callback(journal.close)
        await journal.open(at_least=found.highest)
        writer = asyncio.create_task(journal.run(), name="journal writer")
        opened.push_async_callback(_end, writer)
        world = Parts(Surroundings(journal, router, found, letters, telemetry, folder, snapshot_interval_secs))
        try:
            yield world
        finally:
            for runner in list(world.runners):
                await world.stop(runner)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))

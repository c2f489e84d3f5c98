"""Replay: filters and outputs of a config over what the journal of a data_dir still holds, in a process of its own.

It is a daemon with a data_dir of its own, whose only input gives the packs of the other journal, in order, with the
times at which they were accepted. Time comes from there too: ticks are packs, and the replay's clock stands still in
between. So windows close where they closed. When everything was read it ends like any daemon whose inputs have ended:
open windows are closed, everything is delivered. Where filters read what other filters emit, a pack is given only when
the one before has gone through all of them, so that the same replay gives the same answers each time.

Packs get an epoch and offsets of the replay's own, so that no name derived of them is that of the original: a store
that recognises repeats takes them as new. With the same work folder a replay that was killed goes on exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from dpiped.config.base import PluginConfig
from dpiped.config.graph import edges
from dpiped.config.locate import Place
from dpiped.config.schema import DaemonConfig, InputOptions, OutputOptions, PluginTable
from dpiped.engine import Engine
from dpiped.errors import UnavailableError
from dpiped.filter_runner import FilterRunner
from dpiped.input_runner import InputRunner
from dpiped.journal.append import Draft, Lot
from dpiped.journal.playback import NAME, Playback
from dpiped.plugin import Input
from dpiped.telemetry import Telemetry

CHUNK_PACKS = 64
"""Packs that are read and appended at a time."""
CHUNK_BYTES = 4 << 20
IDLE_POLL_SECS = 0.001


def replay_config(config: DaemonConfig, work_dir: Path) -> DaemonConfig:
    """The config of the replay: filters and outputs stay, all else is the replay's own. No output skips packs."""
    options = InputOptions(type="replay", name=NAME, project=config.projects[0].name, ident=NAME)
    plugin_class = cast("type[Input[Any]]", Input)  # never made: its runner does the work
    return replace(
        config,
        engine=config.engine.model_copy(update={"admin": "127.0.0.1:0", "data_dir": str(work_dir)}),
        journal=config.journal.model_copy(update={"keep_secs": 0.0, "keep_bytes": 0}),
        inputs=(PluginTable("input", options, plugin_class, PluginConfig(), Place("replay")),),
        outputs=tuple(_waiting(table) for table in config.outputs),
    )


def _waiting(table: PluginTable[OutputOptions]) -> PluginTable[OutputOptions]:
    return replace(table, options=table.options.model_copy(update={"when_behind": "wait"}))


class ReplayEngine(Engine):
    """An engine without a clock and without a voice: ticks and reports come from the journal that is replayed."""

    def __init__(self, config: DaemonConfig, telemetry: Telemetry, played: Playback) -> None:
        super().__init__(config, telemetry)
        self.played = played
        self.chained = any(edge.source.kind == edge.target.kind == "filter" for edge in edges(config))
        """Filters read what others emit."""
        self.failed: list[str] = []
        """Runners that stood as failed at the end, and why."""

    def build_input(self, table: PluginTable[InputOptions], config: DaemonConfig) -> InputRunner:
        return ReplayRunner(table, self)

    @property
    def source(self) -> ReplayRunner:
        """The one input."""
        return cast("ReplayRunner", self.inputs[0])

    def _services(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        services = super()._services()
        del services["ticker"], services["self report"]
        self.telemetry.listener = None
        return services

    def now_ms(self) -> int:
        return self.source.accepted_ms or super().now_ms()

    async def _drain(self, timeout_secs: float | None, *, finish: bool) -> None:
        await super()._drain(timeout_secs, finish=finish)
        self.failed = [f"{runner.name}: {runner.last_error}" for runner in self.runners if runner.status == "failed"]

    async def until_filtered(self) -> None:
        """Returns when every filter has passed what was given; one that stands as failed is not waited for."""
        filters = [runner for runner in self.runners if isinstance(runner, FilterRunner)]
        while any(runner.reader.behind for runner in filters if runner.status not in ("disabled", "failed")):  # noqa: ASYNC110 - many filters
            await asyncio.sleep(IDLE_POLL_SECS)


class ReplayRunner(InputRunner):
    """Gives the packs of a playback; ends with the last."""

    def __init__(self, table: PluginTable[InputOptions], engine: ReplayEngine) -> None:
        super().__init__(table, engine.around, {}, durable=engine.durable)
        self._engine = engine
        self.packs = self.events = self.accepted_ms = 0
        self.first = self.last = -1
        """Offsets of the original, of what this process has given."""
        self.went_on: str | None = None
        """The offset behind which it begins, if its folder is one of a replay that was stopped."""

    async def _open(self) -> None:
        """The files are open already."""

    async def _session(self) -> None:
        journal, state = self.around.journal, self.around.state
        await journal.settle(self.name)
        place = journal.marks.positions.get(self.name) if self._durable else state.position(self.name)
        if not self.packs:
            self.went_on = place
        self.status, self.last_error = "running", ""
        chunks = _chunks(self._engine.played.read(-1 if place is None else int(place)))
        while chunk := await asyncio.to_thread(next, chunks, ()):
            if self._engine.chained:
                for drafts in chunk:
                    await self._append(drafts)
                    await self._engine.until_filtered()
            else:
                await self._append([draft for drafts in chunk for draft in drafts])

    async def _append(self, drafts: Sequence[Draft]) -> None:
        """Waits while the journal is full."""
        while True:
            try:
                await self.around.journal.append(self.name, "input", [Lot(drafts)])
            except UnavailableError as exc:
                self.last_error = str(exc)
                await asyncio.sleep(exc.retry_after_secs)
            else:
                break
        for draft in drafts:
            if draft.head.position is not None:
                self.last = int(draft.head.position[1])
                self.first = self.last if self.first < 0 else self.first
                self.packs += 1
                self.events += draft.head.count
                self.accepted_ms = draft.head.accepted_ms

    def report(self) -> dict[str, object]:
        return {**super().report(), "events": self.events, "offset": self.last}


def _chunks(packs: Iterator[list[Draft]]) -> Iterator[list[list[Draft]]]:
    """Some packs at a time, each with what belongs to it."""
    while chunk := list(islice(packs, 1)):
        size = 0
        for drafts in islice(packs, CHUNK_PACKS - 1):
            chunk.append(drafts)
            size += sum(draft.size for draft in drafts)
            if size >= CHUNK_BYTES:
                break
        yield chunk

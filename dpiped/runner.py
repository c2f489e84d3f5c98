"""Runner: owns one filter or output. It pulls what its matcher wants, in order, keeps the cursor, and starts the
plugin again when it fails, with back-off and jitter. What is special to each kind is in output_runner.py and
filter_runner.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from dpiped.backoff import Backoff
from dpiped.config.schema import PluginTable, RunnerOptions
from dpiped.deadletter import DeadLetters, Letter
from dpiped.errors import FatalPluginError, TemporaryError
from dpiped.expressions import Predicate, compile_where
from dpiped.hidden import blot
from dpiped.journal.journal import Journal
from dpiped.journal.reader import Reader
from dpiped.journal.state import RunnerKey, Saved, State
from dpiped.leveldb import LevelDbError
from dpiped.matcher import Matcher
from dpiped.pack import CONTROL_IDENT, Head, Pack, Route
from dpiped.plugin import Plugin, PluginContext
from dpiped.project_log import ProjectLogs
from dpiped.router import Router
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DataLost, PluginFailed, rejections
from dpiped.view import PackView
from dpiped.watchdog import Watch
from dpiped.windows import WindowPolicy

if TYPE_CHECKING:
    from pathlib import Path

RESTART_INITIAL_SECS, RESTART_MAX_SECS = 0.5, 30.0
SAVE_SECS = 1.0
"""A cursor is saved at most so often."""
CLOSE_SECS = 5.0
"""What a plugin gets to flush and close at a stop."""

Options = TypeVar("Options", bound=RunnerOptions)
Status = Literal["starting", "running", "retrying", "hanging", "failed", "stopped", "disabled"]


class Keep(NamedTuple):
    """What of the journal stays for replays, though everybody has passed it."""

    secs: float = 0.0
    bytes: int = 0


class Surroundings(msgspec.Struct, frozen=True):
    """What all runners of a daemon share."""

    journal: Journal
    router: Router
    state: State
    deadletters: DeadLetters
    telemetry: Telemetry
    data_dir: Path | None
    snapshot_interval_secs: float = 10.0
    tick_secs: float = 1.0
    keep: Keep = Keep()
    watch: Watch = msgspec.field(default_factory=Watch)
    project_logs: ProjectLogs = msgspec.field(default_factory=ProjectLogs)
    prefixes: dict[str, str] = msgspec.field(default_factory=dict)
    """Project -> its `index_prefix`."""


class Closable(Protocol):
    """An input or an output."""

    async def close(self) -> None: ...


class Runner(ABC, Generic[Options]):
    """One filter or output with its cursor. `run` is its task; it ends only by cancellation."""

    kind: str

    def __init__(self, table: PluginTable[Options], around: Surroundings) -> None:
        self.table = table
        self.options = table.options
        self.name = table.name
        self.key = RunnerKey(table.kind, table.name, table.type)
        self.around = around
        self.matcher = Matcher(table.options.match, table.name)
        self.where: Predicate | None = compile_where(table.options.where) if table.options.where else None
        self.status: Status = "disabled" if table.options.disabled else "starting"
        self.last_error = ""
        self.calling_since: float | None = None
        """When the plugin was called that has not returned yet; monotonic seconds."""
        self.saved = Saved(0)
        self.reader: Reader
        self._tries: dict[int, int] = {}
        """offset -> how often the plugin failed on it."""
        self._skips: set[int] = set()
        self._saved_at = 0.0
        metrics = around.telemetry.metrics
        self._events_out = metrics.events_out.labels(self.name)
        self._packs_out = metrics.packs_out.labels(self.name)
        self.events = 0
        self.packs = 0

    # ---- what the kinds do -----------------------------------------------------------------------------------------
    @abstractmethod
    def fields(self) -> Iterable[str]:
        """All fields that the plugin and its `where` read."""

    @abstractmethod
    async def session(self) -> None:
        """One life of the plugin: open, pull and work for ever; close in any case."""

    def wants(self, route: Route) -> bool:
        """Whether packs of this route go to this runner."""
        cause = ("", 0) if route.emitted else None
        return self.matcher.matches(Head(project=route.project, ident=route.ident, only=route.only, cause=cause))

    # ---- life ------------------------------------------------------------------------------------------------------
    async def attach(self) -> None:
        """Finds or makes the cursor, synced, and joins the router. Before `run`."""
        await self._take_up()
        await self._count_taken()
        self.reader = Reader(self.around.journal, self.name, self.wants, self.saved.cursor)
        if not self.options.disabled:
            self.around.router.add(self.reader, self.fields())

    async def _take_up(self) -> None:
        """The cursor that is known; else a new one, at the oldest pack if there was one that was lost."""
        state, journal = self.around.state, self.around.journal
        saved = state.synced.get(self.key)
        if saved is not None and saved.left < 0:
            self.saved = saved
        elif saved is not None:
            self._count_gap(saved)
            await self.save(saved)
        else:
            lost = state.is_lost(self.key) and journal.next > 0
            if lost:
                state.anew.append(self.key)
            earliest = lost or self.options.start == "earliest"
            first = journal.storage.first() if earliest else journal.next
            await self.save(Saved(first, generation=self.known_generation()))

    def known_generation(self) -> int:
        """The generation of a runner without a cursor: what the journal still knows of it, where that matters."""
        return 1

    def _count_gap(self, saved: Saved) -> None:
        """It had left the config: what was given back meanwhile is gone for it."""
        gone = self.around.journal.storage.gone(saved.cursor)
        if gone:
            reason = f"given back from offset {saved.cursor} on while it was not in the config; it may have wanted them"
            self.around.telemetry.emit(DataLost(place=self.name, amount=gone, reason=reason))

    async def _count_taken(self) -> None:
        """What an operator took from the journal, or skipped, before this runner had read it."""
        for loss in await self.around.state.take_losses(self.key):
            if self.wants(Route(loss.project, loss.ident, loss.emitted, loss.only)):
                reason = f"{loss.events} events of {loss.ident!r} were given up by a command"
                self.around.telemetry.emit(DataLost(place=self.name, amount=loss.packs, reason=reason))

    async def run(self) -> None:
        """Supervises: a plugin that fails is started again from its saved cursor."""
        if self.options.disabled:
            return
        backoff = Backoff(RESTART_INITIAL_SECS, RESTART_MAX_SECS)
        while True:
            started = time.monotonic()
            try:
                await self.around.journal.settle(self.name)
                if self.key in self.around.state.lost:
                    await self._take_up()
                self.reader.rewind(self.saved.cursor)
                await self.session()
            except asyncio.CancelledError:
                self.status = "stopped"
                raise
            except FatalPluginError as exc:
                await self._stand(str(exc))
            except Exception as exc:
                if time.monotonic() - started > RESTART_MAX_SECS:
                    backoff.reset()
                await self._pause(exc, backoff)

    async def _pause(self, exc: Exception, backoff: Backoff) -> None:
        self.status = "retrying"
        self.last_error = one_line(exc)
        again = backoff.secs_after(exc)
        self.around.telemetry.emit(PluginFailed(plugin=self.name, error=self.last_error, again_secs=round(again, 2)))
        await asyncio.sleep(again)

    async def _stand(self, error: str) -> None:
        """Shown as failed, holding what it wants, until a reload or a restart."""
        self.status = "failed"
        self.last_error = error
        self.around.telemetry.emit(PluginFailed(plugin=self.name, error=error, again_secs=None))
        await asyncio.Event().wait()

    async def save_plugin_state(self, state: bytes) -> None:
        """The plugin's own state, with the cursor as it was saved last: for what must be known before it is done."""
        await self.save(msgspec.structs.replace(self.saved, plugin=state))

    @property
    def window(self) -> WindowPolicy:
        """Filters with windows override it."""
        return WindowPolicy()

    def make_plugin(self) -> Plugin[Any]:
        """A fresh object of the plugin's class."""
        lane = f"{self.name}.{self.saved.generation}"
        context = PluginContext(
            name=self.name,
            telemetry=self.around.telemetry,
            data_dir=self.around.data_dir,
            durable=self.around.journal.storage.durable,
            lane=lane,
            window=self.window,
            save_state=self.save_plugin_state,
            index_prefix=lambda project: self.around.prefixes.get(project, project),
        )
        return self.table.plugin_class(self.table.config, context)

    def renew(self) -> bool:
        """At a reload that leaves its table as it is; see Plugin.renew."""
        plugin: Plugin[Any] | None = getattr(self, "_plugin", None)
        return plugin is None or plugin.renew()

    # ---- work ------------------------------------------------------------------------------------------------------
    def view(self, pack: Pack) -> PackView:
        """The pack as this runner sees it, decoded with what all consumers of its ident read."""
        projection = self.around.router.projection_of(pack.route)
        return PackView(pack, projection, self.where)

    def skipped(self, pack: Pack) -> bool:
        """Whether a control pack says that this one is not to be processed."""
        return pack.head.offset in self._skips

    def control(self, pack: Pack) -> dict[str, Any] | None:
        """What a control pack says; None for all other packs. Skips are noted here."""
        if pack.head.ident != CONTROL_IDENT or pack.head.only != self.name:
            return None
        said: dict[str, Any] = json.loads(pack.body)
        if said.get("control") == "skip":
            ahead = said.get("ahead")  # in a replay: so many packs behind this one
            self._skips.add(pack.head.offset + int(ahead) if ahead is not None else int(said["offset"]))
        return said

    def done(self, packs: Iterable[Pack], events: int) -> None:
        """These packs are finished."""
        for pack in packs:
            self._tries.pop(pack.head.offset, None)
            self._skips.discard(pack.head.offset)
            self.reader.passed(pack)
            self.packs += 1
            self._packs_out.inc()
        self.events += events
        self._events_out.inc(events)

    def failed_on(self, offset: int) -> bool:
        """Counts a failure; True when it failed so often that `on_error` decides."""
        self._tries = {offset: self._tries.get(offset, 0) + 1}
        return self._tries[offset] >= self.options.error_tries and self.options.on_error != "retry"

    async def bury(self, view: PackView, reasons: dict[int, str]) -> None:
        """Puts events of a pack into the dead letter; `reasons` by index in the view. Tried until they are on disk."""
        letters = self._letters(view, reasons)
        backoff = Backoff(RESTART_INITIAL_SECS, RESTART_MAX_SECS)
        while True:
            try:
                await self.around.deadletters.put(letters)
            except LevelDbError as exc:
                await self._pause(exc, backoff)
            else:
                break
        for event in rejections(self.name, reasons.values()):
            self.around.telemetry.emit(event)

    def _letters(self, view: PackView, reasons: dict[int, str]) -> list[Letter]:
        head, now = view.head, int(time.time() * 1000)
        lines, numbers = view.body.splitlines(), list(view.lines)
        return [
            Letter(
                cause=f"{self.name}/{head.epoch}-{head.offset:012x}/{numbers[index]}",
                reason=blot(reason),  # stores quote what they were sent
                plugin=self.name,
                by_runner=True,
                project=head.project,
                ident=head.ident,
                source=head.source,
                host=head.host,
                at_ms=now,
                raw=lines[index],
            )
            for index, reason in reasons.items()
        ]

    def check_snapshot(self) -> None:
        """Before each save; filters with a snapshot override it."""

    async def save(self, saved: Saved, changes: Iterable[tuple[bytes, bytes | None]] = ()) -> None:
        """Cursor and what belongs to it; tried until it is on disk."""
        backoff = Backoff(RESTART_INITIAL_SECS, RESTART_MAX_SECS)
        changes = list(changes)
        status, error = self.status, self.last_error
        while True:
            self.check_snapshot()
            try:
                await self.around.state.save(self.key, saved, changes)
            except LevelDbError as exc:
                await self._pause(exc, backoff)
            else:
                self.saved = saved
                self.status, self.last_error = status, error
                self._saved_at = time.monotonic()
                return

    @property
    def save_due_secs(self) -> float | None:
        """Seconds until the cursor should be saved; None when it does not need to be."""
        if self.reader.cursor <= self.saved.cursor or not self.packs:
            return None
        return max(0.0, self._saved_at + SAVE_SECS - time.monotonic())

    async def wait_for_packs(self, due_secs: float | None) -> bool:
        """False when `due_secs` passed before there was something to pull."""
        if self.reader.behind:
            return True
        try:
            async with asyncio.timeout(due_secs):
                await self.reader.wait()
        except TimeoutError:
            return False
        return True

    @property
    def calling_secs(self) -> float:
        """For how long the plugin has not returned; 0 when it is not being called."""
        return 0.0 if self.calling_since is None else time.monotonic() - self.calling_since

    @property
    def hangs(self) -> bool:
        return self.calling_secs > self.around.watch.hang_secs

    def report(self) -> dict[str, object]:
        """For `/admin/stat` and the dump of USR1."""
        hung = self.around.watch.hung
        return {
            "name": self.name,
            "kind": self.table.kind,
            "type": self.table.type,
            "status": "hanging" if self.hangs else self.status,
            "calling_secs": round(self.calling_secs, 1),
            **({"hung_on": hung.offset, "hung_times": hung.times} if hung.runner == self.name else {}),
            "cursor": self.reader.cursor,
            "saved_cursor": self.saved.cursor,
            "generation": self.saved.generation,
            "lag_packs": max(0, self.around.journal.next - self.reader.cursor),
            "packs": self.packs,
            "events": self.events,
            "last_error": self.last_error,
        }


async def close_plugin(plugin: Closable, name: str, telemetry: Telemetry) -> None:
    """Closes within CLOSE_SECS. What goes wrong is said, never raised: it would hide why the plugin ended, even that
    it was cancelled."""
    try:
        async with asyncio.timeout(CLOSE_SECS):
            await plugin.close()
    except Exception as exc:
        telemetry.say("did not close", plugin=name, detail=one_line(exc), level=logging.WARNING)


def one_line(exc: BaseException) -> str:
    """What went wrong, for a log line or a status."""
    cause = ""
    if isinstance(exc, TemporaryError) and exc.__cause__ is not None:  # of a TimeoutError nothing but its name is known
        cause = f" ({str(exc.__cause__) or type(exc.__cause__).__name__})"
    name = "" if isinstance(exc, TemporaryError) else f"{type(exc).__name__}: "
    return f"{name}{exc}{cause}".replace("\n", " ")[:500]

"""The runners of filters. What a filter emits for one offset is in the journal once, however often it replays.

A stateful filter has two marks: the cursor of its snapshot, which alone holds the journal, and `emitted`, the last
offset whose emissions are in the journal. After a restart it reads on from the cursor, and its emissions up to
`emitted` are thrown away.

The mark is that of a name in the heads: `NAME` for the first generation, `NAME.2` for the second, and so on. So a
filter that an operator lets replay emits again, and is as exact about it after a kill as ever. No name of a plugin has
a dot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeVar, cast

import msgspec

from dpiped.config.schema import FilterOptions, PluginTable
from dpiped.control import control_lot
from dpiped.crashpoint import crash_point
from dpiped.errors import HangError, LostTrackError, UnavailableError
from dpiped.journal.append import Draft, Kind, Lot
from dpiped.leveldb import LevelDbDamagedError
from dpiped.pack import MAX_HOPS, TICK_IDENT, Head, Pack, Route
from dpiped.plugin import PAUSE, Filter, PackDraft, StatefulFilter
from dpiped.quarantine import set_aside
from dpiped.runner import CLOSE_SECS, SAVE_SECS, Runner, Surroundings, one_line
from dpiped.view import PackView
from dpiped.windows import WindowPolicy

PULL_BYTES = 4 << 20
PULL_PACKS = 64
ASK_SECS = 10.0
"""A question waits so long for its turn and its answer."""
PAUSE_SECS = 0.004
"""So long a plugin may keep the event loop with one part of what it gives after another."""

Given = TypeVar("Given")


class FilterRunner(Runner[FilterOptions]):
    """Hands packs to the filter one by one, appends what it emits, and goes on only when that is synced."""

    _plugin: Filter[Any]
    _in_hand = False
    """The plugin has seen a pack that is not finished."""
    _turn: asyncio.Lock
    """Held by whoever uses the plugin: the pack in hand, a snapshot, or a question."""

    def __init__(self, table: PluginTable[FilterOptions], around: Surroundings) -> None:
        super().__init__(table, around)
        self._turn = asyncio.Lock()

    def fields(self) -> Iterable[str]:
        plugin = cast("Filter[Any]", self.make_plugin())
        return {*plugin.fields(), *(self.where.fields if self.where else ())}

    async def session(self) -> None:
        self._plugin = cast("Filter[Any]", self.make_plugin())
        self._in_hand = False
        await self._plugin.open()
        await self._gather_skips()
        await self.prepare()
        self.status = "running"
        try:
            while True:
                due = self.save_due_secs
                if due == 0.0 or not await self.wait_for_packs(due):
                    await self.save_cursor()
                    continue
                for pack in await self.reader.pull(PULL_BYTES, PULL_PACKS):
                    async with self._turn:
                        self._in_hand = True
                        await self._process(pack)
                        self._in_hand = False
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not self._in_hand:  # else its state knows half of a pack: the next start goes on from the last snapshot
                await self._last_save()
            raise

    async def _last_save(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECS):
                await self.save_cursor()
        except Exception as exc:  # it must not hide that the task was cancelled
            text = "snapshot not saved at the stop: some packs will be read again"
            self.around.telemetry.say(text, plugin=self.name, detail=one_line(exc), level=logging.WARNING)

    async def prepare(self) -> None:
        """Before the first pack; stateful filters get their state back here."""

    async def save_cursor(self) -> None:
        await self.save(msgspec.structs.replace(self.saved, cursor=self.reader.cursor))

    @property
    def emitted(self) -> int:
        """The last offset whose emissions are in the journal."""
        return self.around.journal.marks.emitted.get(self.cause_name, -1)

    @property
    def cause_name(self) -> str:
        """What its emissions name as their cause."""
        return self.name if self.saved.generation == 1 else f"{self.name}.{self.saved.generation}"

    def known_generation(self) -> int:
        """The newest one that the heads know: should the state be lost, what was emitted is still not emitted again."""
        names = [name.rpartition(".") for name in self.around.journal.marks.emitted]
        return max([1, *(int(number) for name, _, number in names if name == self.name)])

    async def _gather_skips(self) -> None:
        """Skips are known before the skipped pack is read."""
        offset = self.saved.cursor
        journal = self.around.journal
        while offset < journal.next:
            frames, offset = await journal.read_stored(offset, lambda route: route.only == self.name, 1 << 20)
            for frame in frames:
                pack = Pack()
                pack.fill(frame.head, frame.body, None)
                self.control(pack)

    async def _process(self, pack: Pack) -> None:
        offset = pack.head.offset
        watch = self.around.watch
        try:
            if not self.skipped(pack) and watch.gives_up_on(self.name, offset):
                raise HangError(f"it did not return in {watch.hung.times} processes")  # noqa: TRY301 - handled like its own
            watch.enter(self.name, offset)
            given, events = self._compute(pack)
            drafts = [draft async for draft in self._bit_by_bit(given, watched=offset) if draft is not PAUSE]
        except Exception as exc:
            if (self.failed_on(offset) or isinstance(exc, HangError)) and offset > self.emitted:
                await self._skip(pack, exc)
            raise  # restored from the snapshot; a skip is known by then
        finally:
            watch.leave()
        if drafts and offset > self.emitted:
            await self._emit(pack, drafts)
        self.done((pack,), events)

    def _compute(self, pack: Pack) -> tuple[Iterable[PackDraft], int]:
        """(what the filter emits for the pack, how many events it read)."""
        said = self.control(pack)
        if self.skipped(pack):
            return (), 0
        if said is not None:
            return self.on_control(said), 0
        if pack.head.ident == TICK_IDENT:
            return self.on_tick(pack.head.accepted_ms), 0
        view = self.view(pack)
        return self._plugin.process(view) if view.count else (), view.count

    async def _bit_by_bit(self, given: Iterable[Given], watched: int | None = None) -> AsyncGenerator[Given]:
        """What a plugin gives; where it computes it on demand, others run in between. `watched`: the offset that it is
        at, where the watchdog looks on.
        """
        since = time.perf_counter()
        for one in given:
            yield one
            if time.perf_counter() - since > PAUSE_SECS:
                self.around.watch.leave()
                await asyncio.sleep(0)
                if watched is not None:
                    self.around.watch.enter(self.name, watched)
                since = time.perf_counter()

    async def ask(self, question: Callable[[Any], Iterable[Given]]) -> list[Given]:
        """What the plugin answers, between two packs. Raises UnavailableError when it cannot."""
        self._check_answering()
        try:
            async with asyncio.timeout(ASK_SECS), self._turn:
                self._check_answering()  # it may have failed on the pack that had its turn before
                async with aclosing(self._bit_by_bit(question(self._plugin))) as given:
                    return [one async for one in given if one is not PAUSE]
        except TimeoutError as exc:
            raise UnavailableError(f"filter {self.name!r} is busy: no answer within {ASK_SECS:g} s") from exc

    def _check_answering(self) -> None:
        if self.status != "running":
            raise UnavailableError(f"filter {self.name!r} is {self.status} {self.last_error}".rstrip())

    def report(self) -> dict[str, object]:
        plugin: Filter[Any] | None = getattr(self, "_plugin", None)
        return {**super().report(), **(plugin.status() if plugin is not None else {})}

    def on_tick(self, now_ms: int) -> Iterable[PackDraft]:
        """Journaled time; only stateful filters get it."""
        return ()

    def on_control(self, said: dict[str, Any]) -> Iterable[PackDraft]:
        """A control pack other than a skip."""
        return ()

    async def _emit(self, pack: Pack, drafts: list[PackDraft]) -> None:
        """All emissions of the offset in one write; returns when they are synced."""
        head = pack.head
        if head.hops >= MAX_HOPS:
            await self.bury(
                PackView(pack, self.around.router.projection_of(pack.route)),
                dict.fromkeys(range(head.count), f"more than {MAX_HOPS} hops: do filters feed each other?"),
            )
            return
        crash_point("filter.emitting")
        await self._append(Lot([self._draft(head, draft) for draft in drafts]), "filter")
        crash_point("filter.emitted")

    async def _append(self, lot: Lot, kind: Kind) -> None:
        """Returns when it is synced; while the disk is full or fails it is tried again."""
        while True:
            try:
                await self.around.journal.append(self.name, kind, [lot])
            except UnavailableError as exc:
                await asyncio.sleep(exc.retry_after_secs)
            else:
                return

    def _draft(self, cause: Head, draft: PackDraft) -> Draft:
        head = Head(
            project=cause.project if draft.project is None else draft.project,
            ident=draft.ident or self.options.ident,
            source=cause.source if draft.source is None else draft.source,
            host=cause.host if draft.host is None else draft.host,
            accepted_ms=cause.accepted_ms,
            min_ts=draft.min_ts,
            max_ts=draft.max_ts,
            count=draft.count,
            raw_bytes=len(draft.body),
            cause=(self.cause_name, cause.offset),
            hops=cause.hops + 1,
        )
        return Draft(head, draft.body)

    async def _skip(self, pack: Pack, exc: Exception) -> None:
        """`on_error`: the pack is skipped, as a control pack says, so that a replay does the same."""
        if self.options.on_error == "stop":
            await self._stand(one_line(exc))
        view = self.view(pack)
        await self.bury(view, dict.fromkeys(range(view.count), one_line(exc)))
        said = {"control": "skip", "offset": pack.head.offset}
        await self._append(control_lot(self.name, int(time.time() * 1000), said), "control")
        self._skips.add(pack.head.offset)


class StatefulFilterRunner(FilterRunner):
    """Also saves what changed in the filter's state, in one batch with the cursor, every snapshot interval."""

    _plugin: StatefulFilter[Any]
    _losses = 0
    """How often the state had been mended when the snapshot was read."""

    def wants(self, route: Route) -> bool:
        return super().wants(route) or (route.ident == TICK_IDENT and not route.only)

    @property
    def window(self) -> WindowPolicy:
        options = self.options
        return WindowPolicy(
            lateness_ms=round(options.lateness_secs * 1000),
            idle_ms=round(options.idle_secs * 1000),
            max_ahead_ms=round(options.max_ahead_secs * 1000),
            on_late=options.on_late,
            tick_ms=round(self.around.tick_secs * 1000),
        )

    async def prepare(self) -> None:
        self._losses = self.around.state.losses
        fingerprint = self._plugin.fingerprint()
        self._unsaved: dict[bytes, bytes | None] = {}
        if self.saved.fingerprint not in ("", fingerprint):
            await self._set_aside()
        else:
            self._plugin.restore(await self._snapshot())
        if self.saved.fingerprint != fingerprint:
            await self.save(msgspec.structs.replace(self.saved, fingerprint=fingerprint))

    async def _set_aside(self) -> None:
        """What it knows is of no use to the config as it is now."""
        snapshot = await self._snapshot()
        kept = "it knew nothing"
        folder = self.around.data_dir
        if snapshot and folder is not None:
            try:
                kept = f"kept as {await asyncio.to_thread(set_aside, folder, self.name, self.saved, snapshot)}"
            except OSError as exc:
                kept = f"no copy of its state could be kept: {exc.strerror or exc}"
        text = "config keys that shape its state were changed: the filter starts empty at its cursor"
        self.around.telemetry.say(text, plugin=self.name, detail=kept, level=logging.WARNING)
        self.around.telemetry.metrics.noted.labels(self.name, "state_set_aside").inc()
        await self.around.state.forget_snapshot(self.key)

    async def _take_up(self) -> None:
        while True:
            self._losses = self.around.state.losses
            try:
                return await super()._take_up()
            except LostTrackError:  # it was mended in this very moment
                continue

    async def _snapshot(self) -> list[tuple[bytes, bytes]]:
        state = self.around.state
        try:
            return await asyncio.to_thread(state.snapshot, self.key)
        except LevelDbDamagedError as exc:
            await state.mend()
            raise LostTrackError(f"its snapshot cannot be read: {one_line(exc)}") from exc

    def check_snapshot(self) -> None:
        """What the database had of it may be gone since: changes alone would be half of a snapshot."""
        if self.around.state.losses != self._losses:
            raise LostTrackError("the state was damaged: the filter starts again, empty, at the oldest pack")

    @property
    def save_due_secs(self) -> float | None:
        if self.reader.cursor <= self.saved.cursor:
            return None
        every = self.around.snapshot_interval_secs
        if self.around.journal.room.full:  # perhaps it is only this snapshot that holds what is there
            every = min(every, SAVE_SECS)
        return max(0.0, self._saved_at + every - time.monotonic())

    async def save_cursor(self) -> None:
        """What `changes` gave is kept until it is saved."""
        async with self._turn:
            async for key, value in self._bit_by_bit(self._plugin.changes(), watched=self.reader.cursor):
                self._unsaved[key] = value
        self.around.watch.leave()
        crash_point("filter.changes")
        saved = msgspec.structs.replace(self.saved, cursor=self.reader.cursor)
        await self.save(saved, list(self._unsaved.items()))
        self._unsaved.clear()

    def on_tick(self, now_ms: int) -> Iterable[PackDraft]:
        return self._plugin.tick(now_ms)

    def on_control(self, said: dict[str, Any]) -> Iterable[PackDraft]:
        match said["control"]:
            case "skip":
                return ()
            case "finish":
                return self._plugin.finish()
            case "reset":
                self._plugin.reset()
                return ()
            case _:
                return self._plugin.command(said)

    @property
    def plugin_class(self) -> type[StatefulFilter[Any]]:
        """Of the filter; what it can be asked is known before it runs."""
        return cast("type[StatefulFilter[Any]]", self.table.plugin_class)

    def report(self) -> dict[str, object]:
        return {**super().report(), "emitted": self.emitted, "fingerprint": self.saved.fingerprint}

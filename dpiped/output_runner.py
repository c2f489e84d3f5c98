"""The runner of an output: gathers packs into a batch, has it written, tries again, and moves the cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import Any, cast

import msgspec

from dpiped.backoff import Backoff
from dpiped.batch import Batch, generation_ending
from dpiped.config.schema import OutputOptions
from dpiped.crashpoint import crash_point
from dpiped.errors import LostTrackError, RejectedError, TemporaryError
from dpiped.journal.base import Backlog
from dpiped.pack import EVENTS_IDENT, MAX_PACK_EVENTS, Pack
from dpiped.plugin import Output
from dpiped.projection import METADATA_FIELDS
from dpiped.runner import CLOSE_SECS, Runner, close_plugin, one_line
from dpiped.telemetry.events import DataLost, DeliveryRetried, EventsDropped
from dpiped.view import PackView

MAX_BATCH_PACKS = 1_000
LEAST_PACK_BYTES = 4 << 10
"""A batch of packs that are smaller on average than this ends by their number."""
BEHIND_SECS = 1.0
"""How often it is asked whether an output with `when_behind = "skip"` is too far behind."""


class OutputRunner(Runner[OutputOptions]):
    """Delivery is at least once; its effect exactly once where the output says so."""

    _plugin: Output[Any]
    _behind_asked = 0.0
    """When it was last asked whether it is too far behind; monotonic."""
    _waiting: asyncio.Timeout | None = None
    """While a batch waits for more."""
    _is_open = False
    """Whether the plugin can be asked for its status."""
    _act_after = 0.0
    """The plugin's `act` failed and is not called before; monotonic."""
    _hurried = False
    """Nothing more comes: a batch that is not full goes at once."""
    _suspect = -1
    """Up to this offset packs go one by one: a batch of them made the plugin raise, and one of them may be why."""

    @property
    def open_plugin(self) -> Output[Any] | None:
        """What may be asked now; None while it is not open."""
        return self._plugin if self._is_open else None

    def fields(self) -> Iterable[str]:
        plugin = cast("Output[Any]", self.make_plugin())
        metadata = METADATA_FIELDS if self.options.metadata and plugin.takes_metadata else ()
        return {*plugin.fields(), *metadata, *(self.where.fields if self.where else ())}

    async def session(self) -> None:
        plugin = self._plugin = cast("Output[Any]", self.make_plugin())
        self._is_open = False
        try:
            await plugin.open(self.saved.plugin)
            self._is_open = True
            self.status = "running"
            self._act_after, self._act_backoff = 0.0, self._backoff()
            await self._finish_stable_batch()
            while True:
                if self._is_too_far_behind():
                    await self._skip_ahead()
                due = min((secs for secs in (self.save_due_secs, self._act_secs) if secs is not None), default=None)
                if due == 0.0 or not await self.wait_for_packs(due):
                    await self._act_or_save()
                    continue
                packs = await self._collect()
                if packs:
                    await self._process(packs)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self._is_open:  # before, it knows less than what is saved
                await self._last_save()
            raise
        finally:
            await close_plugin(plugin, self.name, self.around.telemetry)

    # ---- when_behind = "skip" --------------------------------------------------------------------------------------
    def _is_too_far_behind(self) -> bool:
        """Asked at most once a second; always false with `when_behind = "wait"`."""
        now = time.monotonic()
        if self.options.when_behind == "wait" or now - self._behind_asked < BEHIND_SECS:
            return False
        self._behind_asked = now
        if not self.options.max_behind_bytes:
            return self.around.journal.room.full and self.reader.behind
        return sum(stretch.size for stretch in self._backlog()) > self.options.max_behind_bytes

    def _backlog(self) -> list[Backlog]:
        return self.around.journal.storage.backlog(self.reader.cursor, self.reader.wants)

    async def _skip_ahead(self) -> None:
        """Gives up the oldest packs, counted, until half of what is allowed is left. The cursor is saved before and
        after.
        """
        await self._save_cursor()
        backlog, left = self._backlog(), self.options.max_behind_bytes // 2
        while backlog and sum(stretch.size for stretch in backlog) > left:
            lost = backlog.pop(0)
            cursor = backlog[0].first if backlog else self.around.journal.next
            self.around.telemetry.emit(EventsDropped(plugin=self.name, amount=lost.events, reason="behind"))
            self.reader.rewind(cursor)
        await self.save(msgspec.structs.replace(self.saved, cursor=self.reader.cursor, batch=None))

    async def _last_save(self) -> None:
        """At a stop: what was written is made durable and the cursor saved, if that goes quickly."""
        try:
            async with asyncio.timeout(CLOSE_SECS):
                await self._save_cursor()
        except Exception as exc:
            self.around.telemetry.say(
                "cursor not saved at the stop: some batches will be sent again", plugin=self.name, detail=one_line(exc)
            )

    async def _collect(self) -> list[Pack]:
        """The packs of the next batch: what is there, up to the limits, waiting `max_secs` for a full one."""
        limits = self.options.batch
        careful = bool(self._tries) or self.reader.cursor <= self._suspect
        most = 1 if careful else max(MAX_BATCH_PACKS, limits.max_bytes // LEAST_PACK_BYTES)
        packs = await self.reader.pull(limits.max_bytes, most)
        deadline = time.monotonic() + limits.max_secs
        size, events = _sizes(packs)
        while packs and not careful and size < limits.max_bytes and events < limits.max_events:
            left = deadline - time.monotonic()
            if left <= 0 or len(packs) >= most or not await self._more_within(left):
                break
            more = await self.reader.pull(limits.max_bytes - size, most - len(packs))
            packs += more
            size, events = size + _sizes(more)[0], events + _sizes(more)[1]
        return packs

    async def _more_within(self, secs: float) -> bool:
        if not self._hurried:
            try:
                async with asyncio.timeout(secs) as self._waiting:
                    await self.reader.wait()
            except TimeoutError:
                return False
            finally:
                self._waiting = None
        return self.reader.more

    def hurry(self) -> None:
        """The daemon drains: no batch waits for more any longer."""
        self._hurried = True
        if self._waiting is not None:
            self._waiting.reschedule(0.0)

    # ---- one batch -------------------------------------------------------------------------------------------------
    async def _process(self, packs: list[Pack], name: str = "") -> None:
        """`name`: of a stable batch that was begun before."""
        views = await self._views(packs)
        if views:
            if self._plugin.stable_batches and not name:
                name = await self._save_boundaries(packs)
            names = self._plugin.metadata_names
            await self._deliver(Batch(views, self.options.metadata, name, self.saved.generation, names))
            if self._act_secs == 0.0:  # before the packs count as done, so that a stop in batch mode waits for it
                await self._act()
        self.done(packs, sum(view.count for view in views))

    async def _views(self, packs: list[Pack]) -> list[PackView]:
        """What of the packs is to be delivered. Over a large batch, `where` lets others run in between."""
        views, judged = [], 0
        for pack in [pack for pack in packs if self.control(pack) is None]:  # all that is to be skipped is known first
            view = self.view(pack)
            if view.count and not self.skipped(pack) and not self._caused(view):
                views.append(view)
            judged += pack.head.count if self.where is not None else 0
            if judged >= MAX_PACK_EVENTS:
                judged = 0
                await asyncio.sleep(0)
        return views

    def _caused(self, view: PackView) -> bool:
        """Whether the pack reports trouble of this very output: delivering that could make more of it, without end."""
        return view.head.ident == EVENTS_IDENT and view.head.source == self.name

    async def _deliver(self, batch: Batch) -> None:
        """Returns when the batch is delivered, or given to the dead letter as `on_error` says."""
        retry = self.options.retry
        backoff = self._backoff()
        while True:
            try:
                await self._write(batch)
            except LostTrackError:
                raise
            except TemporaryError as exc:
                if retry.attempts and backoff.tries + 1 >= retry.attempts:
                    return await self._give_up(batch, exc)
                await self._wait_again(exc, backoff)
            except RejectedError as exc:
                self._recovered()
                return await self._bury_rejected(batch, exc)
            except Exception as exc:
                whole = len(batch.views) == 1 or self._plugin.stable_batches  # a stable batch is never cut up
                if self.failed_on(batch.views[0].head.offset) and whole:
                    return await self._give_up(batch, exc)
                self._suspect = -1 if whole else batch.views[-1].head.offset
                raise
            else:
                return self._recovered()

    async def _write(self, batch: Batch) -> None:
        crash_point("output.writing")
        await self._call(self._plugin.write(batch))
        crash_point("output.delivered")

    async def _call(self, work: Awaitable[None]) -> None:
        """Waits for the plugin. A stop that was lost inside is heeded, or trying again would never end:
        `asyncio.wait_for` of Python 3.11, which libraries use, loses one that comes as what it waits for is done.
        """
        self.calling_since = time.monotonic()
        try:
            await work
        finally:
            self.calling_since = None
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError

    def _backoff(self) -> Backoff:
        return Backoff(self.options.retry.initial_secs, self.options.retry.max_secs)

    def _recovered(self) -> None:
        if not self._act_after:
            self.status, self.last_error = "running", ""

    async def _wait_again(self, exc: TemporaryError, backoff: Backoff) -> None:
        if self._is_too_far_behind():
            self._behind_asked = 0.0  # asked again when the plugin is open anew, at its saved cursor
            raise LostTrackError(f"too far behind: {one_line(exc)}") from exc
        await asyncio.sleep(self._again(exc, backoff))

    def _again(self, exc: TemporaryError, backoff: Backoff) -> float:
        """Says that it did not work; seconds until the next try."""
        again = backoff.secs_after(exc)
        self.status, self.last_error = "retrying", one_line(exc)
        self.around.telemetry.emit(DeliveryRetried(plugin=self.name, error=self.last_error, again_secs=round(again, 2)))
        return again

    # ---- what the plugin does in its own time ----------------------------------------------------------------------
    @property
    def _act_secs(self) -> float | None:
        """Seconds until `act` is called; None = never."""
        due = self._plugin.due_secs()
        return None if due is None else max(0.0, due, self._act_after - time.monotonic())

    async def _act_or_save(self) -> None:
        if self._act_secs == 0.0:
            await self._act()
        else:
            await self._save_cursor()

    async def _act(self) -> None:
        """Its state is saved before, so that after a crash it does the same again, and right after, or it always
        would.
        """
        await self._save_cursor()
        try:
            await self._call(self._plugin.act())
        except TemporaryError as exc:
            self._act_after = time.monotonic() + self._again(exc, self._act_backoff)
        else:
            self._act_after, self._act_backoff = 0.0, self._backoff()
            self._recovered()
        await self._save_cursor()

    async def _give_up(self, batch: Batch, exc: Exception) -> None:
        if self.options.on_error == "stop":
            await self._stand(one_line(exc))
        await self._bury_rejected(batch, RejectedError.whole(batch, one_line(exc)))

    async def _bury_rejected(self, batch: Batch, exc: RejectedError) -> None:
        at = 0
        for view in batch.views:
            mine = {index - at: reason for index, reason in exc.reasons.items() if at <= index < at + view.count}
            if mine:
                await self.bury(view, mine)
            at += view.count

    # ---- cursor ----------------------------------------------------------------------------------------------------
    async def _save_cursor(self) -> None:
        cursor = self.reader.cursor
        await self._plugin.flush()
        crash_point("output.flushed")
        await self.save(msgspec.structs.replace(self.saved, cursor=cursor, plugin=self._plugin.saved(), batch=None))

    async def _save_boundaries(self, packs: list[Pack]) -> str:
        """With the cursor, so that packs of an earlier batch cannot come again in another one."""
        first, end, epoch = packs[0].head.offset, packs[-1].head.offset + 1, packs[0].head.epoch
        if self.saved.batch != (first, end):
            await self._plugin.flush()
            await self.save(
                msgspec.structs.replace(
                    self.saved,
                    cursor=self.reader.cursor,
                    plugin=self._plugin.saved(),
                    batch=(first, end),
                    batch_epoch=epoch,
                )
            )
        return self._batch_name(epoch, first, end)

    def _batch_name(self, epoch: str, first: int, end: int) -> str:
        return f"{epoch}-{first:012x}-{end - 1:012x}{generation_ending(self.saved.generation)}"

    async def _finish_stable_batch(self) -> None:
        """The batch that was begun before a crash, the same again; what is left of it goes under the same name."""
        if self.saved.batch is None or not self._plugin.stable_batches:
            return
        first, end = self.saved.batch
        packs: list[Pack] = []
        while not packs or packs[-1].head.offset < end - 1:
            more = await self.reader.pull(1, 1)
            if not more:
                break
            packs += more
        mine = [pack for pack in packs if pack.head.offset < end]
        if mine:
            await self._process(mine, self._batch_name(self.saved.batch_epoch, first, end))
        else:
            reason = f"all packs of the batch {first} to {end - 1} are gone: it is given up"
            self.around.telemetry.emit(DataLost(place=self.name, amount=end - first, reason=reason))
            await self.save(msgspec.structs.replace(self.saved, batch=None))
        if len(mine) < len(packs):  # the next one was looked at only to see that it is the next
            self.reader.rewind(packs[-1].head.offset)

    def report(self) -> dict[str, object]:
        """With what the plugin tells of itself, as it was when it ended."""
        return {**super().report(), **(self._plugin.status() if self._is_open else {})}


def _sizes(packs: list[Pack]) -> tuple[int, int]:
    """(bytes, events) of their bodies."""
    return sum(pack.head.raw_bytes for pack in packs), sum(pack.head.count for pack in packs)

"""The janitor gives back the journal's room that no synced cursor wants any more, reports idle packs, keeps gauges
current.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dpiped.config.schema import OutputOptions
from dpiped.journal.base import Wanted
from dpiped.leveldb import LevelDbError
from dpiped.pack import Route
from dpiped.telemetry.events import PluginHangs

if TYPE_CHECKING:
    from dpiped.runner import Runner, Surroundings

PERIOD_SECS = 1.0
IDLE_PACK_SECS = 120.0
KEPT_SHARE = 0.75
"""So much of the journal's budget at most is used for what everybody has passed."""
_NEVER_MS = 1 << 62
FORGET_EVERY_SECS = 3600.0


class Janitor:
    """One task. A reload calls `pause` around changes of the list of runners."""

    def __init__(self, around: Surroundings, runners: Sequence[Runner[Any]]) -> None:
        self._around = around
        self._runners = runners
        self._freeing = asyncio.Lock()
        self._reported: set[int] = set()
        self._hanging: set[str] = set()
        """Runners that were reported as hanging and still are."""
        self._passed: dict[str, str] = {}
        """Positions that all runners have passed, and that are not saved yet."""
        self._forgot_at = time.monotonic()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECS)
            await self._try("room of the journal cannot be given back", self.free)
            await self._try("positions of inputs cannot be saved", self.save_positions)
            await self._try("old dead letters cannot be removed", self._around.deadletters.expire)
            if time.monotonic() - self._forgot_at > FORGET_EVERY_SECS:
                await self._try("what left the config cannot be forgotten", self.forget)
            self._measure()
            self._report_idle_packs()
            self._report_hanging()
            self._around.telemetry.sum_up()

    async def _try(self, text: str, work: Callable[[], Awaitable[None]]) -> None:
        """What the disk refuses is told, and tried again in the next round."""
        try:
            await work()
        except (OSError, LevelDbError) as exc:
            detail = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
            self._around.telemetry.say(text, level=logging.ERROR, detail=detail)

    async def forget(self) -> None:
        """Cursors and states of runners that left the config 7 days ago; others that are not in it are noted."""
        around = self._around
        async with self._freeing:
            here = [runner.key for runner in self._runners]
            for name in await around.state.leave(here, around.journal.next):
                around.telemetry.say("cursor and state forgotten: it left the config 7 days ago", plugin=name.name)
        self._forgot_at = time.monotonic()

    async def note_left(self) -> None:
        """After a change of the runners."""
        await self._try("what left the config cannot be noted", self.forget)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Ends the freeing under way and lets no other begin, while runners come, return or step back."""
        async with self._freeing:
            yield

    async def free(self) -> None:
        """One round. Only cursors of the synced state free room."""
        journal = self._around.journal
        async with self._freeing:
            await journal.free(self._wanted(), self._below())

    async def save_positions(self) -> None:
        """Memory journals: an input goes on from the last position that every runner has passed and made durable."""
        journal = self._around.journal
        cursors = [
            runner.reader.cursor if runner.save_due_secs is None else runner.saved.cursor
            for runner in self._runners
            if not runner.options.disabled
        ]
        self._passed |= journal.passed_positions(min(cursors, default=journal.next))
        if self._passed:  # kept until they are saved
            await self._around.state.save_positions(self._passed)
            self._passed = {}

    def _below(self) -> int:
        """Nothing from here on is freed: `keep_secs` and `keep_bytes`, for replays. They never make inputs wait: only
        the newest KEPT_SHARE of the budget is kept, and nothing while journal or disk is full.
        """
        keep, journal = self._around.keep, self._around.journal
        if (not keep.secs and not keep.bytes) or journal.room.short:
            return journal.next
        since_ms = int((time.time() - keep.secs) * 1000) if keep.secs else _NEVER_MS
        kept = journal.storage.kept_from(since_ms, keep.bytes)
        return max(kept, journal.storage.kept_from(_NEVER_MS, int(journal.room.max_bytes * KEPT_SHARE)))

    def _wanted(self) -> Wanted:
        synced = self._around.state.synced
        wants = [(synced[runner.key].cursor if runner.key in synced else 0, runner.wants) for runner in self._runners]

        def wanted(route: Route, _first: int, last: int) -> bool:
            return any(cursor <= last and matches(route) for cursor, matches in wants)

        return wanted

    def _measure(self) -> None:
        around, metrics = self._around, self._around.telemetry.metrics
        metrics.pool_packs.set(around.journal.pool.in_use)
        metrics.pool_bytes.set(around.journal.pool.bytes)
        for runner in self._runners:
            metrics.lag_packs.labels(runner.name).set(max(0, around.journal.next - runner.reader.cursor))

    def _report_idle_packs(self) -> None:
        """A pack that one runner has held for two minutes longer than its batches wait is worth a line, once."""
        waits = {
            runner.name: runner.options.batch.max_secs
            for runner in self._runners
            if isinstance(runner.options, OutputOptions)
        }
        held = [
            one
            for one in self._around.journal.pool.held_since(IDLE_PACK_SECS)
            if one[2] > IDLE_PACK_SECS + waits.get(one[1], 0.0)
        ]
        offsets = {pack.head.offset for pack, _, _ in held}
        for name, packs in _by_holder(held, self._reported):
            self._around.telemetry.say(
                f"{len(packs)} packs untouched for more than {IDLE_PACK_SECS:.0f} s",
                plugin=name,
                detail=f"oldest offset {min(packs)}",
            )
        self._reported = offsets

    def _report_hanging(self) -> None:
        """Once for each call that does not return."""
        hanging = {runner.name: runner.calling_secs for runner in self._runners if runner.hangs}
        for name in sorted(hanging.keys() - self._hanging):
            self._around.telemetry.emit(PluginHangs(plugin=name, secs=round(hanging[name])))
        self._hanging = set(hanging)


def _by_holder(held: Iterable[tuple[Any, str, float]], known: set[int]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for pack, holder, _ in held:
        if pack.head.offset not in known:
            found.setdefault(holder, []).append(pack.head.offset)
    return sorted(found.items())

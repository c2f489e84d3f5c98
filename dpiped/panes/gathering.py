"""Windows that gather: events go into panes, and time, which only packs and ticks move, closes windows over them.

What is told of a window is the business of `windowed.py`. Everything is a function of the packs and ticks that were
read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, TypeVar

from dpiped.panes.answers import Span
from dpiped.panes.config import GroupedConfig
from dpiped.panes.pane import Pane
from dpiped.panes.periods import LATEST_MS, Periods
from dpiped.panes.shape import Key, Shape
from dpiped.panes.sorting import Sorted
from dpiped.panes.store import pane_keys
from dpiped.plugin import PAUSE, PackDraft, StatefulFilter
from dpiped.telemetry.events import EventsDropped
from dpiped.view import PackView
from dpiped.windows import BEFORE_ALL_MS, Watermark

C = TypeVar("C", bound=GroupedConfig)
GROUPS_AT_ONCE = 500
"""Are made lighter or freed: up to 5 ms of work."""


class GatheringFilter(StatefulFilter[C]):
    """Panes, and which windows over them are open."""

    def __init__(self, config: C, context: Any) -> None:
        super().__init__(config, context)
        self.periods = self.make_periods()
        self.shape = self.make_shape()
        self.watermark = Watermark(context.window)
        self.panes: dict[int, Pane] = {}
        self._closed = BEFORE_ALL_MS
        """End of the last closed window."""
        self._offset = -1
        """Of the newest pack that was read."""
        self._gone: list[bytes] = []
        """Keys of the state that have to go."""
        self._parting: list[Pane] = []
        """Panes that nobody needs any more; they are freed bit by bit."""
        self._clock_changed = False

    def make_periods(self) -> Periods:
        """How time is cut."""
        return self.config.periods()

    def make_shape(self) -> Shape:
        """What is computed."""
        return Shape(self.config, self.periods.pane_name())

    # ---- in --------------------------------------------------------------------------------------------------------
    def horizon(self, accepted_ms: int) -> int:
        """Events behind it are too far ahead."""
        return min(self.watermark.horizon(accepted_ms), LATEST_MS)

    @property
    def closed_none(self) -> bool:
        """Whether no window is closed yet."""
        return self._closed == BEFORE_ALL_MS

    @property
    def oldest(self) -> int:
        """Start of the oldest pane that belongs to a window which is still open."""
        return self._closed if self.closed_none else self.periods.oldest_pane(self._closed)

    def pane(self, span: Span, project: str) -> Pane:
        """The pane of this time; made if it is not there."""
        pane = self.panes.get(span[0])
        if pane is None:
            pane = self.panes[span[0]] = Pane(self.shape, *span)
        pane.projects.add(project)
        return pane

    def take(self, pack: PackView, keys: list[Key], columns: Sequence[list[Any]]) -> list[PackDraft]:
        """Puts the events of a pack into their panes and moves time; returns what `on_late` emits."""
        head = pack.head
        span = self.periods.pane(head.min_ts)
        if head.max_ts < span[1] and span[0] >= self.oldest and head.max_ts <= self.horizon(head.accepted_ms):
            # what most packs are: all in one pane, so that no time has to be looked at
            self.add(span, keys, columns, pack)
            stamps: Any = pack.column("@timestamp") if not pack.whole else (head.max_ts,)
            self.saw(max(stamps), head.offset)
            return []
        return self._take_by_time(pack, keys, columns)

    def _take_by_time(self, pack: PackView, keys: list[Key], columns: Sequence[list[Any]]) -> list[PackDraft]:
        """Looks at the time of each event: they fall into several panes, or some are late or too far ahead."""
        stamps: list[int] = pack.column("@timestamp")  # type: ignore[assignment]
        parts = Sorted(stamps, self.oldest, self.horizon(pack.head.accepted_ms))
        for span, places in parts.panes(self.periods):
            some = [list(map(column.__getitem__, places)) for column in columns]
            self.add(span, list(map(keys.__getitem__, places)), some, pack, places)
        late = self.count_out(pack, stamps, parts.ahead, parts.late)
        self.saw(parts.newest, pack.head.offset)
        return late

    def add(
        self,
        span: Span,
        keys: list[Key],
        columns: Sequence[list[Any]],
        pack: PackView,
        places: Sequence[int] | None = None,
    ) -> None:
        """Puts events into a pane; `places`: which of the pack's they are, if not all."""
        touch = pack.head.offset if self.touches else None
        self.note_over(self.pane(span, pack.head.project).add(keys, columns, touch))

    @property
    def touches(self) -> bool:
        """Whether panes note which groups got events."""
        return False

    def note_over(self, amount: int) -> None:
        """Counts what went to the group of the rest."""
        if amount:
            self.context.telemetry.metrics.noted.labels(self.context.name, "group_over_limit").inc(amount)

    def saw(self, newest: int | None, offset: int) -> None:
        """A whole pack was read: time moves."""
        self._offset = offset
        self._clock_changed = True
        if newest is not None:
            self.watermark.saw(newest)

    def count_out(self, pack: PackView, stamps: list[int], ahead: int, late: list[bool]) -> list[PackDraft]:
        """Counts what is too far ahead, and counts or emits what is late."""
        emits = self.watermark.policy.on_late == "emit"
        late_count = sum(late)
        for amount, reason in ((ahead, "too_far_ahead"), (0 if emits else late_count, "late")):
            if amount:
                self.context.telemetry.emit(EventsDropped(plugin=self.context.name, amount=amount, reason=reason))
        if not emits or not late_count:
            return []
        lines = list(compress(pack.body.splitlines(keepends=True), late))
        times = list(compress(stamps, late))
        return [PackDraft(b"".join(lines), len(lines), min(times), max(times), ident=f"{self.context.name}.late")]

    # ---- time ------------------------------------------------------------------------------------------------------
    def tick(self, now_ms: int) -> Iterable[PackDraft]:
        self.watermark.tick(self.idle_end(now_ms))
        self._clock_changed = True
        return self.close()

    def finish(self) -> Iterable[PackDraft]:
        self.watermark.close_all(self._newest_end())
        self._clock_changed = True
        return self.close()

    def idle_end(self, now_ms: int) -> int | None:
        """Where the watermark goes when nothing came for long: to the last end of a window that holds data, but never
        past the journaled time. Else of events that are rare, or come in the evening, most would find their window
        closed.
        """
        end = self._newest_end()
        return None if end is None else min(end, self.periods.floor(now_ms - self.watermark.policy.lateness_ms))

    def _newest_end(self) -> int | None:
        """End of the last window that holds data."""
        if not self.panes:
            return None
        newest = self.panes[max(self.panes)]
        return self.periods.last_end((newest.start, newest.end))

    def close(self) -> Iterable[PackDraft]:
        """Emits all windows that the watermark has passed, oldest first, and drops panes that no open window needs."""
        if (end := self._next_end()) is not None and end <= self.watermark.at_ms:
            return self._close_due()
        self._pass_empty()
        if self._parting or any(pane.is_heavy for pane in self.panes.values()):
            return self._tidy()
        return ()

    def _next_end(self) -> int | None:
        """End of the oldest open window that holds data; None if there is none."""
        oldest = self.oldest
        live = [start for start in self.panes if start >= oldest]
        if not live:
            return None
        end = self.panes[min(live)].end
        return end if self.closed_none else max(end, self.periods.next_end(self._closed))

    def _close_due(self) -> Iterator[PackDraft]:
        while (end := self._next_end()) is not None and end <= self.watermark.at_ms:
            yield from self.close_window((self.periods.window_start(end), end))
            self._closed = end
            self._drop_panes()
        self._pass_empty()
        yield from self._tidy()

    def _tidy(self) -> Iterator[PackDraft]:
        """What is to be done with many groups, some at a time."""
        for pane in self.panes.values():
            while pane.is_heavy:
                pane.lighten(GROUPS_AT_ONCE)
                yield PAUSE
        while self._parting:
            if not self._parting[-1].forget(GROUPS_AT_ONCE):
                self._parting.pop()
            yield PAUSE

    @abstractmethod
    def close_window(self, span: Span) -> Iterable[PackDraft]:
        """What is emitted when a window closes; all windows before it are closed."""

    @property
    def oldest_kept(self) -> int:
        """Start of the oldest pane that is still needed."""
        return self.oldest

    def _drop_panes(self) -> None:
        oldest = self.oldest_kept
        for start in [start for start in self.panes if start < oldest]:
            self._part_with(self.panes.pop(start))

    def _part_with(self, pane: Pane) -> None:
        self._gone += pane_keys(pane)
        self._parting.append(pane)

    def _pass_empty(self) -> None:
        """Windows without data are closed as well."""
        if self.watermark.at_ms == BEFORE_ALL_MS:
            return
        closed = self.periods.floor(self.watermark.at_ms)
        if closed > self._closed:
            self._closed = closed
            self._drop_panes()

    def windows_of(self, starts: Iterable[int], newest: int | None = None) -> list[Span]:
        """Windows with one of these panes that are not closed yet, oldest first; `newest`: none that ends later."""
        ends: list[int] = []
        for start in sorted(starts):
            pane = self.panes[start]
            end = pane.end if self.closed_none else max(pane.end, self.periods.next_end(self._closed))
            if ends:
                end = max(end, self.periods.next_end(ends[-1]))
            last = self.periods.last_end((pane.start, pane.end))
            while end <= (last if newest is None else min(last, newest)):
                ends.append(end)
                end = self.periods.next_end(end)
        return [(self.periods.window_start(end), end) for end in ends]

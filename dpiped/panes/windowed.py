"""The part that filters with windows have in common: time, panes, early and last results, state, answers.

Everything is a function of the packs and ticks that were read. Emissions are made bit by bit, while the runner asks for
them, so that a window with many groups does not keep the event loop busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, islice
from typing import Any, NamedTuple, TypeVar

from dpiped.panes.answers import Kept, Span, Writer
from dpiped.panes.config import GroupedConfig
from dpiped.panes.pane import Pane
from dpiped.panes.periods import LATEST_MS, Periods
from dpiped.panes.shape import Answers, Key, Shape
from dpiped.panes.sorting import Sorted
from dpiped.panes.store import (
    CLOCK,
    Change,
    Clock,
    dump_clock,
    load_answers,
    load_clock,
    load_panes,
    pane_changes,
    pane_keys,
)
from dpiped.plugin import PAUSE, PackDraft, StatefulFilter
from dpiped.questions import Question
from dpiped.telemetry.events import EventsDropped
from dpiped.view import PROJECT, PackView
from dpiped.windows import Watermark

C = TypeVar("C", bound=GroupedConfig)
EVENTS_AT_ONCE = 500
"""In one emitted pack: about 5 ms of work."""
GROUPS_AT_ONCE = 500
"""Are made lighter or freed: up to 5 ms of work."""
Parts = list[tuple[Pane, Key]]
"""The panes of a window that know a group, and its name there: one over the limit may be `_other` in the window."""
_NOTHING_CLOSED = -(1 << 62)
EVERYTHING = Question()


class _Told(NamedTuple):
    """What some groups of a window, all of one project, say."""

    project: str
    emitted: bytes
    """Lines."""
    kept: bytes
    """The same lines with their error bounds, for questions."""
    events: int


class WindowedFilter(StatefulFilter[C]):
    """Gathers in panes; subclasses read packs, and say what a pane's group is emitted as."""

    def __init__(self, config: C, context: Any) -> None:
        super().__init__(config, context)
        self.periods = self.make_periods()
        self.shape = self.make_shape()
        names = self.shape.group_by
        self._project_place = names.index(PROJECT) if PROJECT in names else None
        self.writer = Writer(config.telling, self.shape, context.name)
        self.watermark = Watermark(context.window)
        self.panes: dict[int, Pane] = {}
        self._every_ms = config.telling.early_ms
        self._closed = -1
        """End of the last closed window."""
        self._early_ms = -1
        self._early_offset = -1
        """Early results told what came up to here."""
        self._offset = -1
        self._kept = Kept(config.telling.kept_periods)
        self._gone: list[bytes] = []
        self._parting: list[Pane] = []
        """Panes that nobody needs any more; they are freed bit by bit."""
        self._clock_changed = False

    def make_periods(self) -> Periods:
        """How time is cut."""
        return self.config.periods()

    def make_shape(self) -> Shape:
        """What is computed."""
        return Shape(self.config, self.periods.pane_name())

    def fingerprint(self) -> str:
        return f"{self.shape.digest}/{self.periods}/{self.config.max_groups}/{self._every_ms is not None}"

    # ---- in --------------------------------------------------------------------------------------------------------
    def horizon(self, accepted_ms: int) -> int:
        """Events behind it are too far ahead."""
        return min(self.watermark.horizon(accepted_ms), LATEST_MS)

    @property
    def oldest(self) -> int:
        """Start of the oldest pane that belongs to a window which is still open."""
        return _NOTHING_CLOSED if self._closed < 0 else self.periods.oldest_pane(self._closed)

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
        """Whether panes note which groups got events: for early results."""
        return self._every_ms is not None

    def note_over(self, amount: int) -> None:
        """Counts what went to the group of the rest."""
        if amount:
            self.context.telemetry.metrics.noted.labels(self.context.name, "group_over_limit").inc(amount)

    def saw(self, newest: int | None, offset: int) -> None:
        """A whole pack was read: time moves."""
        self._offset = offset
        self._clock_changed = True
        if newest is not None and newest >= 0:
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
        if self._every_ms is None:
            return self.close()
        return self._close_and_tell(now_ms)

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
        return end if self._closed < 0 else max(end, self.periods.next_end(self._closed))

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

    def close_window(self, span: Span) -> Iterable[PackDraft]:
        """What is emitted when a window closes; all windows before it are closed."""
        for told in self._told(span, early=False):
            self._kept.add(span, told.kept)
            yield self._draft(span, told)

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
        closed = self.periods.floor(self.watermark.at_ms) if self.watermark.at_ms >= 0 else -1
        if closed > self._closed:
            self._closed = closed
            self._drop_panes()

    def _close_and_tell(self, now_ms: int) -> Iterator[PackDraft]:
        yield from self.close()
        assert self._every_ms is not None
        if self._early_ms < 0 or now_ms < self._early_ms:  # the first tick, or the machine's clock was set back
            self._early_ms = now_ms
        if now_ms - self._early_ms < self._every_ms:
            return
        self._early_ms = now_ms
        since, self._early_offset = self._early_offset, self._offset
        for span in self._open_windows():
            touched = self._touched(span, since)
            for told in self._told(span, touched, early=True):
                yield self._draft(span, told)

    def _open_windows(self) -> list[Span]:
        """Windows with data that are not closed yet, oldest first."""
        return self.windows_of(self.panes)

    def windows_of(self, starts: Iterable[int], newest: int | None = None) -> list[Span]:
        """Windows with one of these panes that are not closed yet, oldest first; `newest`: none that ends later."""
        ends: list[int] = []
        for start in sorted(starts):
            pane = self.panes[start]
            end = pane.end if self._closed < 0 else max(pane.end, self.periods.next_end(self._closed))
            if ends:
                end = max(end, self.periods.next_end(ends[-1]))
            last = self.periods.last_end((pane.start, pane.end))
            while end <= (last if newest is None else min(last, newest)):
                ends.append(end)
                end = self.periods.next_end(end)
        return [(self.periods.window_start(end), end) for end in ends]

    # ---- out -------------------------------------------------------------------------------------------------------
    def _panes_of(self, span: Span) -> list[Pane]:
        return [self.panes[start] for start in sorted(self.panes) if span[0] <= start < span[1]]

    def _touched(self, span: Span, since: int) -> set[Key]:
        """The groups of a window that got events since."""
        return {key for pane in self._panes_of(span) for key, at in pane.touched.items() if at > since}

    def _groups(self, span: Span, only: set[Key] | None = None) -> Iterator[tuple[Key, Parts]]:
        """(group, where it is found) of a window, in the order in which groups came; at most `max_groups` and one of
        the rest.
        """
        panes = self._panes_of(span)
        if len(panes) == 1:
            pane = panes[0]
            yield from ((key, [(pane, key)]) for key in pane.groups if only is None or key in only)
            return
        where: dict[Key, Parts] = {}
        other = self.shape.other
        for pane in panes:
            for key in pane.groups:
                full = len(where) - (other in where) >= self.shape.max_groups
                where.setdefault(other if full and key not in where else key, []).append((pane, key))
        for key, parts in where.items():
            if only is None or not only.isdisjoint(part[1] for part in parts):
                yield key, parts

    def _told(self, span: Span, only: set[Key] | None = None, *, early: bool) -> Iterator[_Told]:
        """What is told of a window, some groups of one project at once."""
        secs = self._secs(span, early=early)
        groups = self._groups(span, only)
        while some := list(islice(groups, EVENTS_AT_ONCE)):
            for project, of_it in self._by_project(span, some).items():
                emitted, kept = self.lines(span, of_it, secs, early=early)
                yield _Told(project, b"".join(emitted), b"".join(kept), len(of_it))

    def _by_project(self, span: Span, groups: list[tuple[Key, Parts]]) -> dict[str, list[tuple[Key, Parts]]]:
        if self._project_place is None:
            return {_only_one(self._panes_of(span)): groups}
        found: dict[str, list[tuple[Key, Parts]]] = {}
        for key, parts in groups:
            found.setdefault(self.project_of(key, parts), []).append((key, parts))
        return found

    def project_of(self, key: Key, parts: Parts) -> str:
        """Whose the answer of a group is: of its own `_project` if that is what parts the events, else of the one
        project that events came for in its panes; empty if they came for several.
        """
        if self._project_place is not None and key != self.shape.other:
            return str(self.shape.values(key)[self._project_place] or "")
        return _only_one(pane for pane, _ in parts)

    def _secs(self, span: Span, *, early: bool) -> float:
        """Length of a window; of one that is still open, the part of it that has passed, at least a second."""
        passed = max(self.watermark.at_ms, self.watermark.newest_ms, span[0] + 1_000)
        end = min(passed, span[1]) if early else span[1]
        return (end - span[0]) / 1000

    def lines(
        self, span: Span, groups: Sequence[tuple[Key, Parts]], secs: float, *, early: bool
    ) -> tuple[list[bytes], list[bytes]]:
        """(what is emitted of some groups, what is kept for questions), a line for each group."""
        answers = [self._answers_of(parts, secs) for _, parts in groups]
        return self.writer.lines(span, [key for key, _ in groups], answers, early=early)

    def _answers_of(self, parts: Parts, secs: float) -> Answers:
        if len(parts) == 1:
            pane, name = parts[0]
            return pane.answers(name, secs)
        return self.shape.answers(self.shape.merge([pane.of(name) for pane, name in parts]), secs)

    @staticmethod
    def _draft(span: Span, told: _Told) -> PackDraft:
        return PackDraft(told.emitted, told.events, span[1], span[1], project=told.project, host="", source="")

    # ---- questions -------------------------------------------------------------------------------------------------
    def about(self) -> dict[str, Any]:
        """Windows, groups and metrics, as the config has them; how much is held."""
        return {
            **self.config.shown_windows(),
            "group_by": list(self.config.group_by),
            "metrics": {
                name: metric.model_dump(mode="json", exclude_none=True) for name, metric in self.config.metrics.items()
            },
            **self.status(),
        }

    def answers(self, question: Question = EVERYTHING) -> Iterator[dict[str, Any]]:
        """See Answering: closed windows that are kept, then open ones."""
        found: Iterator[dict[str, Any]] = iter(())
        if question.window != "current":
            found = self._kept.answers(question)
        if question.window != "last":
            found = chain(found, self._open_answers(question))
        group = question.group
        return found if group is None else (answer for answer in found if self.writer.is_of(answer, group))

    def _open_answers(self, question: Question) -> Iterator[dict[str, Any]]:
        spans = self._open_windows()
        if question.window == "current":  # of those that overlap the fullest
            spans = [span for span in spans if span[1] > self.watermark.newest_ms][:1]
        for span in spans:
            if question.wants(*span):
                for told in self._told(span, early=True):
                    yield from Writer.read(told.kept)

    def reset(self) -> None:
        self._kept.clear()
        for pane in self.panes.values():
            self._part_with(pane)
        self.panes.clear()

    def status(self) -> dict[str, object]:
        return {
            "open_panes": len(self.panes),
            "groups": sum(len(pane.groups) for pane in self.panes.values()),
            "kept_windows": len(self._kept),
        }

    def result(self) -> object:
        return {
            start: {
                str(self.shape.values(key)): [aggregate.result() for aggregate in pane.of(key)] for key in pane.groups
            }
            for start, pane in sorted(self.panes.items())
        }

    # ---- state -----------------------------------------------------------------------------------------------------
    def changes(self) -> Iterable[Change]:
        """One by one: whoever takes only some gets the rest with the next call."""
        while self._gone:  # before panes: one may have come again
            yield self._gone.pop(), None
        for start in sorted(self.panes):
            yield from pane_changes(self.panes[start], self.shape)
        yield from self._kept.changes()
        if self._clock_changed:
            self._clock_changed = False
            clock = Clock(self.watermark.dumps(), self._closed, self._early_ms, self._early_offset, self._offset)
            yield CLOCK, dump_clock(clock)

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        items = list(items)
        self.panes = load_panes(items, self.shape)
        self._kept.load(load_answers(items))
        for key, value in items:
            if key == CLOCK:
                clock = load_clock(value)
                self.watermark.loads(clock.watermark)
                self._closed, self._early_ms = clock.closed, clock.early_ms
                self._early_offset, self._offset = clock.early_offset, clock.offset


def _only_one(panes: Iterable[Pane]) -> str:
    """The project that all events in these panes came for; empty if they came for several."""
    projects = {project for pane in panes for project in pane.projects}
    return projects.pop() if len(projects) == 1 else ""

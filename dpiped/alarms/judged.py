"""The windows of an alarm: judged when they close and, while they are open, at each tick.

What is computed bit by bit lets others run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from dpiped.aggregates import Aggregate
from dpiped.alarms.board import Alarm, Board, Rules
from dpiped.alarms.config import AlarmConfig
from dpiped.alarms.events import Events, InHand
from dpiped.alarms.judge import Judge
from dpiped.alarms.names import COUNT, Names
from dpiped.alarms.shape import AlarmShape
from dpiped.alarms.slices import MANY, Effort
from dpiped.alarms.state import AlarmState
from dpiped.alarms.teller import Finding, Teller
from dpiped.alarms.watch import Watch
from dpiped.panes.answers import Span
from dpiped.panes.pane import Pane
from dpiped.panes.shape import Key
from dpiped.panes.windowed import Parts, WindowedFilter
from dpiped.plugin import PAUSE, PackDraft
from dpiped.view import PackView

GROUPS_AT_ONCE = 20
"""Judged or told before others may run: some ms at most."""
PARTS_AT_ONCE = 20
"""Of groups, merged before others may run: a sketch takes up to 0.2 ms for each."""
Found = TypeVar("Found")


class Unfilled(NamedTuple):
    """Events of the pack in hand that a pane has yet to take."""

    span: Span
    keys: list[Key]
    columns: Sequence[list[Any]]
    places: Sequence[int]
    """Which of the pack they are."""


class JudgedWindows(WindowedFilter[AlarmConfig]):
    """What an alarm does with windows; subclasses read packs and ticks."""

    shape: AlarmShape

    def __init__(self, config: AlarmConfig, context: Any) -> None:
        super().__init__(config, context)
        names = Names(config.metrics)
        tick_ms = context.window.tick_ms
        self._judge = Judge(config, names)
        self._board = Board(
            Rules(
                config.max_groups + 1,  # and that of the rest
                round(config.throttle_secs * 1000),
                round(config.resolve_after_secs * 1000),
                tick_ms,
                config.early is False,
            )
        )
        self._teller = Teller(context.name, config.title, names, self._board)
        self._events = Events(config, self.writer.group)
        watch = None
        if config.silence_secs is not None:
            ticks = config.silence_secs * 1000 / tick_ms, config.forget_secs * 1000 / tick_ms
            watch = Watch(*ticks, config.max_groups)
        self._unfilled: list[Unfilled] = []
        self._looked = Effort()
        """At groups."""
        self._merged = Effort(PARTS_AT_ONCE)
        self._state = AlarmState(self._board, self._events.seen, self._judge.history, watch)

    def make_shape(self) -> AlarmShape:
        return AlarmShape(self.config, self.periods.pane_name())

    @property
    def touches(self) -> bool:
        return self._judge.looks_at_windows

    @property
    def oldest_kept(self) -> int:
        """With `change` also those of the window before."""
        if self.config.change is None or self.closed_none:
            return self.oldest
        start = self.periods.window_start(self.periods.next_end(self._closed))
        return self.periods.window_start(start)

    def add(
        self,
        span: Span,
        keys: list[Key],
        columns: Sequence[list[Any]],
        pack: PackView,
        places: Sequence[int] | None = None,
    ) -> None:
        """Notes them down for `fill`."""
        self._unfilled.append(Unfilled(span, keys, columns, range(len(keys)) if places is None else places))

    def fill(self, in_hand: InHand) -> Iterator[PackDraft]:
        """Puts what `take` parted into the panes, bit by bit."""
        for part in self._unfilled:
            for at in range(0, len(part.keys), MANY):
                some = slice(at, at + MANY)
                columns = [column[some] for column in part.columns]
                self._fill(Unfilled(part.span, part.keys[some], columns, part.places[some]), in_hand)
                yield PAUSE
        self._unfilled.clear()

    def _fill(self, some: Unfilled, in_hand: InHand) -> None:
        super().add(some.span, some.keys, some.columns, in_hand.pack)
        state, start = self._state, some.span[0]
        if state.begin is None:
            state.begin = start
        known, keys = self.panes[start].groups, some.keys
        if self.shape.other in known:
            keys = [key if key in known else self.shape.other for key in keys]
        if state.samples.wants(start, dict.fromkeys(keys)):
            state.samples.add(start, keys, [in_hand.line(place) for place in some.places])

    def close_window(self, span: Span) -> Iterator[PackDraft]:
        """Every group of it is judged; what ended before it is resolved first."""
        yield from self._resolve(self._board.pass_to(self.periods.pane(span[1] - 1)[0]))
        counts: dict[Key, int] = {}
        for found in self._some_groups(span):
            if found is None:
                yield PAUSE
                continue
            counts[found[0]] = yield from self._judge_group(span, *found, early=False)
            yield from self._pause(len(counts))
        history = self._judge.history
        if history is not None and history.wants(span):
            self._note("history_over_limit", history.add(span, counts))
        yield from self._teller.drafts()
        yield PAUSE

    def let_go(self) -> Iterator[PackDraft]:
        """What belongs to panes that were dropped goes bit by bit; called before anything is added."""
        samples = self._state.samples
        for _ in samples.drop([start for start in samples.panes if start not in self.panes]):
            yield PAUSE

    def _judge_open(self) -> Iterator[PackDraft]:
        """The open windows that end no later than the newest pane, and of them the groups that got events since the
        last tick: later ones hold less of the same.
        """
        recent = yield from self._recent()
        number = 0
        newest = self.panes[max(self.panes)].end if self.panes else 0
        for span in self.windows_of(recent, newest):
            touched: dict[Key, None] = {}
            for start in (start for start in recent if span[0] <= start < span[1]):
                touched.update(dict.fromkeys(recent[start]))
                if self._looked.add(len(recent[start])):
                    yield PAUSE
            for found in self._some_groups(span, touched):
                if found is None:
                    yield PAUSE
                    continue
                yield from self._judge_group(span, *found, early=True)
                number += 1
                yield from self._pause(number)

    def _recent(self) -> Generator[PackDraft, None, dict[int, list[Key]]]:
        """Start of a pane -> its groups that got events since this was asked last; panes with none are left out."""
        since, self._early_offset = self._early_offset, self._offset
        recent = {}
        for start, pane in sorted(self.panes.items()):
            if pane.last_touch > since:
                recent[start] = [key for key in pane.groups if pane.touched.get(key, -1) > since]
                if self._looked.add(len(pane.groups)):
                    yield PAUSE
        return recent

    def _some_groups(self, span: Span, keys: Iterable[Key] | None = None) -> Iterator[tuple[Key, Parts] | None]:
        """As `_groups`, of some or of all; None where others may run."""
        panes = self._panes_of(span)
        known: dict[Key, None] = {}
        for pane in panes:
            known.update(dict.fromkeys(pane.groups))
            if len(known) > self.config.max_groups and len(panes) > 1:
                yield from self._crowded(panes, None if keys is None else set(keys))
                return
            if self._looked.add(len(pane.groups)):
                yield None
        for key in known if keys is None else keys:
            yield key, [(pane, key) for pane in panes if key in pane.groups]
            if self._looked.add(len(panes)):
                yield None

    def _crowded(self, panes: Sequence[Pane], only: set[Key] | None) -> Iterator[tuple[Key, Parts] | None]:
        """Of more groups than a window may have: those that came last are in the group of the rest."""
        where: dict[Key, Parts] = {}
        wanted: set[Key] = set()
        other, most = self.shape.other, self.config.max_groups
        for pane in panes:
            for key in pane.groups:
                full = len(where) - (other in where) >= most
                name = other if full and key not in where else key
                where.setdefault(name, []).append((pane, key))
                if only is None or key in only:
                    wanted.add(name)
                if self._looked.add():
                    yield None
        for name, parts in where.items():
            if name in wanted:
                yield name, parts

    def _judge_group(self, span: Span, key: Key, parts: Parts, *, early: bool) -> Generator[PackDraft, None, int]:
        """Returns how many events the group has in the window."""
        values = yield from self._values(parts, self._secs(span, early=early))
        previous = (yield from self._previous(span, key)) if self._judge.looks_back(values) else None
        verdict = self._judge.verdict(span, key, values, previous)
        if verdict is not None:
            finding = Finding(
                verdict.reason,
                self.writer.group(key),
                values,
                *span,
                self.project_of(key, parts),
                self.config.severity,
                verdict.factor,
                previous,
                windowed=True,
                fresh=early,
            )
            newest = parts[-MANY:]
            starts, names = [pane.start for pane, _ in newest], [name for _, name in newest]
            self._teller.found(finding, lambda: self._state.samples.of(starts, names))
        return int(values[COUNT])

    def _values(self, parts: Parts, secs: float) -> Generator[PackDraft, None, dict[str, Any]]:
        """The metrics of a group, without those that have no answer."""
        if len(parts) == 1:
            pane, name = parts[0]
            answers = pane.answers(name, secs)
        else:
            answers = self.shape.answers((yield from self._total(parts)), secs)
        names = (name for name, _ in self.shape.metrics)
        return {name: answer for name, (answer, _) in zip(names, answers, strict=True) if answer is not None}

    def _total(self, parts: Parts) -> Generator[PackDraft, None, Sequence[Aggregate]]:
        """As `Shape.merge`; of the group of the rest there may be very many parts."""
        total = self.shape.new()
        for pane, name in parts:
            for aggregate, some in zip(total, pane.of(name), strict=True):
                aggregate.merge(some)
            if self._merged.add():
                yield PAUSE
        return total

    def _previous(self, span: Span, key: Key) -> Generator[PackDraft, None, dict[str, Any] | None]:
        """The values of a group in the window before; None if not all of that was read."""
        before = (self.periods.window_start(span[0]), span[0])
        begin = self._state.begin
        if begin is None or before[0] < begin:
            return None
        parts = [(pane, key) for pane in self._panes_of(before) if key in pane.groups]
        if not parts:
            return {COUNT: 0}
        return (yield from self._values(parts, self._secs(before, early=False)))

    def _resolve(self, alarms: Iterable[Alarm | None]) -> Iterator[PackDraft]:
        """Tells that they are over."""
        return self._tell(alarms, self._teller.resolved)

    def _tell(self, found: Iterable[Found | None], tell: Callable[[Found], None]) -> Iterator[PackDraft]:
        """Tells what was found; None: others may run."""
        number = 0
        for one in found:
            if one is None:
                yield PAUSE
                continue
            tell(one)
            number += 1
            yield from self._pause(number)

    def _pause(self, number: int) -> Iterator[PackDraft]:
        """Lets others run now and then; `number`: how much was judged or told."""
        if number % GROUPS_AT_ONCE == 0:
            yield from self._teller.drafts(all_of_them=False)
            yield PAUSE

    def _note(self, what: str, amount: int) -> None:
        if amount:
            self.context.telemetry.metrics.noted.labels(self.context.name, what).inc(amount)

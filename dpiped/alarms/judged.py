"""The windows of an alarm: judged when they close and, while they are open, at each tick.

What is computed bit by bit lets others run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from dpiped.alarms.board import Alarm, Board, Rules
from dpiped.alarms.config import AlarmConfig
from dpiped.alarms.events import Events, Lines
from dpiped.alarms.judge import Judge
from dpiped.alarms.names import COUNT, Names
from dpiped.alarms.shape import AlarmShape
from dpiped.alarms.state import AlarmState
from dpiped.alarms.teller import Finding, Teller
from dpiped.alarms.watch import Watch
from dpiped.panes.answers import Span
from dpiped.panes.pane import Pane
from dpiped.panes.shape import Key, Shape
from dpiped.panes.windowed import Parts, WindowedFilter
from dpiped.plugin import PAUSE, PackDraft
from dpiped.view import PackView

GROUPS_AT_ONCE = 20
"""Judged before others may run: some ms at most."""
MANY = 1_000
"""So many groups are looked through, or parts of a group merged, before others may run."""


class JudgedWindows(WindowedFilter[AlarmConfig]):
    """What an alarm does with windows; subclasses read packs and ticks."""

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
        self._in_hand: Lines | None = None
        """Those of the pack in hand."""
        self._state = AlarmState(self._board, self._events.seen, self._judge.history, watch)

    def make_shape(self) -> Shape:
        return AlarmShape(self.config, self.periods.pane_name())

    @property
    def touches(self) -> bool:
        return self._judge.looks_at_windows

    @property
    def oldest_kept(self) -> int:
        """With `change` also those of the window before."""
        if self.config.change is None or self._closed < 0:
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
        super().add(span, keys, columns, pack, places)
        state = self._state
        if state.begin is None:
            state.begin = span[0]
        known = self.panes[span[0]].groups
        if self.shape.other in known:
            keys = [key if key in known else self.shape.other for key in keys]
        if state.samples.wants(span[0], dict.fromkeys(keys)):
            if self._in_hand is None or self._in_hand.pack is not pack:
                self._in_hand = Lines(pack)
            lines = self._in_hand.all()
            state.samples.add(span[0], keys, lines if places is None else [lines[place] for place in places])

    def close_window(self, span: Span) -> Iterator[PackDraft]:
        """Every group of it is judged; what ended before it is resolved first."""
        yield from self._resolve(self._board.pass_to(self.periods.pane(span[1] - 1)[0]))
        counts: dict[Key, int] = {}
        for number, found in enumerate(self._some_groups(span), 1):
            if found is None:
                yield PAUSE
                continue
            counts[found[0]] = yield from self._judge_group(span, *found, early=False)
            yield from self._pause(number)
        history = self._judge.history
        if history is not None and history.wants(span):
            self._note("history_over_limit", history.add(span, counts))
        yield from self._teller.drafts()

    def _drop_panes(self) -> None:
        super()._drop_panes()
        samples = self._state.samples
        samples.drop([start for start in samples.panes if start not in self.panes])

    def _judge_open(self) -> Iterator[PackDraft]:
        """The open windows that end no later than the newest pane, and of them the groups that got events since the
        last tick: later ones hold less of the same.
        """
        since, self._early_offset = self._early_offset, self._offset
        recent = {
            start: [key for key in pane.groups if pane.touched.get(key, -1) > since]
            for start, pane in sorted(self.panes.items())
            if pane.last_touch > since
        }
        number = 0
        for span in self._windows_of(recent):
            touched = dict.fromkeys(key for start in recent if span[0] <= start < span[1] for key in recent[start])
            for found in self._some_groups(span, touched):
                if found is None:
                    yield PAUSE
                    continue
                yield from self._judge_group(span, *found, early=True)
                number += 1
                yield from self._pause(number)

    def _windows_of(self, starts: Iterable[int]) -> list[Span]:
        """The open windows with one of these panes that end no later than the newest of all, oldest first."""
        ends = set()
        newest = self.panes[max(self.panes)].end if self.panes else 0
        for start in starts:
            pane = self.panes[start]
            end = pane.end if self._closed < 0 else max(pane.end, self.periods.next_end(self._closed))
            last = min(self.periods.last_end((pane.start, pane.end)), newest)
            while end <= last:
                ends.add(end)
                end = self.periods.next_end(end)
        return [(self.periods.window_start(end), end) for end in sorted(ends)]

    def _some_groups(self, span: Span, keys: Iterable[Key] | None = None) -> Iterator[tuple[Key, Parts] | None]:
        """As `_groups`, of some or of all; None where others may run."""
        panes = self._panes_of(span)
        known: dict[Key, None] = {}
        for pane in panes:
            known.update(dict.fromkeys(pane.groups))
            if len(known) > self.config.max_groups and len(panes) > 1:
                yield from self._crowded(panes, None if keys is None else set(keys))
                return
            if len(pane.groups) > MANY:
                yield None
        for key in known if keys is None else keys:
            yield key, [(pane, key) for pane in panes if key in pane.groups]

    def _crowded(self, panes: Sequence[Pane], only: set[Key] | None) -> Iterator[tuple[Key, Parts] | None]:
        """Of more groups than a window may have: those that came last are in the group of the rest."""
        where: dict[Key, Parts] = {}
        other, most = self.shape.other, self.config.max_groups
        for pane in panes:
            for key in pane.groups:
                full = len(where) - (other in where) >= most
                where.setdefault(other if full and key not in where else key, []).append((pane, key))
            yield None
        for key, parts in where.items():
            if only is None or not only.isdisjoint(part[1] for part in parts):
                yield key, parts

    def _judge_group(self, span: Span, key: Key, parts: Parts, *, early: bool) -> Generator[PackDraft, None, int]:
        """Returns how many events the group has in the window."""
        newest = parts[-MANY:]
        if len(parts) > MANY:
            parts = yield from self._joined(span, parts)
        values = self._values(parts, self._secs(span, early=early))
        previous = self._previous(span, key)
        verdict = self._judge.verdict(span, key, values, previous)
        if verdict is not None:
            projects = {project for pane, _ in parts for project in pane.projects}
            finding = Finding(
                verdict.reason,
                self.writer.group(key),
                values,
                *span,
                min(projects) if len(projects) == 1 else "",
                self.config.severity,
                verdict.factor,
                previous() if self.config.change is not None else None,
                windowed=True,
                fresh=early,
            )
            starts, names = [pane.start for pane, _ in newest], [name for _, name in newest]
            self._teller.found(finding, lambda: self._state.samples.of(starts, names))
        return int(values[COUNT])

    def _joined(self, span: Span, parts: Parts) -> Generator[PackDraft, None, Parts]:
        """The group of the rest, of which there may be very many parts, as one."""
        joined = Pane(self.shape, *span)
        for pane, _ in parts:
            joined.projects |= pane.projects
        for at in range(0, len(parts), MANY):
            some = [pane.of(name) for pane, name in parts[at : at + MANY]]
            joined.merge(self.shape.other, self.shape.merge(some))
            yield PAUSE
        return [(joined, self.shape.other)]

    def _values(self, parts: Parts, secs: float) -> dict[str, Any]:
        """The metrics of a group, without those that have no answer."""
        if len(parts) == 1:
            pane, name = parts[0]
            answers = pane.answers(name, secs)
        else:
            answers = self.shape.answers(self.shape.merge([pane.of(name) for pane, name in parts]), secs)
        names = (name for name, _ in self.shape.metrics)
        return {name: answer for name, (answer, _) in zip(names, answers, strict=True) if answer is not None}

    def _previous(self, span: Span, key: Key) -> Callable[[], dict[str, Any] | None]:
        """Asks for the values of a group in the window before; None if not all of that was read."""

        def previous() -> dict[str, Any] | None:
            before = (self.periods.window_start(span[0]), span[0])
            begin = self._state.begin
            if begin is None or before[0] < begin:
                return None
            parts = [(pane, key) for pane in self._panes_of(before) if key in pane.groups]
            return self._values(parts, self._secs(before, early=False)) if parts else {COUNT: 0}

        return previous

    def _resolve(self, alarms: Iterable[Alarm]) -> Iterator[PackDraft]:
        """Tells that they are over."""
        for number, alarm in enumerate(alarms, 1):
            self._teller.resolved(alarm)
            yield from self._pause(number)

    def _pause(self, number: int) -> Iterator[PackDraft]:
        """Lets others run now and then; `number`: how much was judged or told."""
        if number % GROUPS_AT_ONCE == 0:
            yield from self._teller.drafts(all_of_them=False)
            yield PAUSE

    def _note(self, what: str, amount: int) -> None:
        if amount:
            self.context.telemetry.metrics.noted.labels(self.context.name, what).inc(amount)

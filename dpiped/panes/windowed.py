"""What filters with windows tell: early and last results, answers to questions, state.

Everything is a function of the packs and ticks that were read. Emissions are made bit by bit, while the runner asks for
them, so that a window with many groups does not keep the event loop busy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from dpiped.panes.answers import Kept, Span, Writer
from dpiped.panes.config import GroupedConfig
from dpiped.panes.gathering import GatheringFilter
from dpiped.panes.pane import Pane
from dpiped.panes.shape import Answers, Key
from dpiped.panes.store import (
    CLOCK,
    Change,
    Clock,
    dump_clock,
    load_answers,
    load_clock,
    load_panes,
    pane_changes,
)
from dpiped.plugin import PAUSE, PackDraft
from dpiped.questions import Question
from dpiped.view import PROJECT

C = TypeVar("C", bound=GroupedConfig)
EVENTS_AT_ONCE = 500
"""In one emitted pack: about 5 ms of work."""
ANSWERS_AT_ONCE = 100
"""Are looked through for a group before others may run: about 1 ms."""
Parts = list[tuple[Pane, Key]]
"""The panes of a window that know a group, and its name there: one over the limit may be `_other` in the window."""
EVERYTHING = Question()


class _Told(NamedTuple):
    """What some groups of a window, all of one project, say."""

    project: str
    emitted: bytes
    """Lines."""
    kept: bytes
    """The same lines with their error bounds, for questions."""
    events: int


class WindowedFilter(GatheringFilter[C]):
    """Gathers in panes; subclasses read packs, and say what a pane's group is emitted as."""

    def __init__(self, config: C, context: Any) -> None:
        super().__init__(config, context)
        names = self.shape.group_by
        self._project_place = names.index(PROJECT) if PROJECT in names else None
        self.writer = Writer(config.telling, self.shape, context.name)
        self._every_ms = config.telling.early_ms
        self._early_ms = -1
        self._early_offset = -1
        """Early results told what came up to here."""
        self._kept = Kept(config.telling.kept_periods)

    def fingerprint(self) -> str:
        return f"{self.shape.digest}/{self.periods}/{self.config.max_groups}/{self._every_ms is not None}"

    # ---- when ------------------------------------------------------------------------------------------------------
    @property
    def touches(self) -> bool:
        """Whether panes note which groups got events: for early results."""
        return self._every_ms is not None

    def tick(self, now_ms: int) -> Iterable[PackDraft]:
        closed = super().tick(now_ms)
        return closed if self._every_ms is None else self._close_and_tell(closed, now_ms)

    def close_window(self, span: Span) -> Iterable[PackDraft]:
        """What is emitted when a window closes; all windows before it are closed."""
        for told in self._told(span, early=False):
            self._kept.add(span, told.kept)
            yield self._draft(span, told)

    def _close_and_tell(self, closed: Iterable[PackDraft], now_ms: int) -> Iterator[PackDraft]:
        yield from closed
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

    def answers(self, question: Question = EVERYTHING) -> Iterator[Any]:
        """See Answering: closed windows that are kept, then open ones."""
        found: Iterator[dict[str, Any]] = iter(())
        if question.window != "current":
            found = self._kept.answers(question)
        if question.window != "last":
            found = chain(found, self._open_answers(question))
        return found if question.group is None else self._of_group(found, question.group)

    def _of_group(self, found: Iterator[dict[str, Any]], group: str) -> Iterator[Any]:
        for number, answer in enumerate(found, 1):
            if self.writer.is_of(answer, group):
                yield answer
            elif number % ANSWERS_AT_ONCE == 0:
                yield PAUSE

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

"""One state per group: what is firing, what was told of it, who acknowledged it.

    (nothing) --hit--> firing --hit--> again, at most every throttle --quiet for long enough--> resolved, (nothing)

A pure state machine. Time passes in two ways, and whichever passed more counts: by ticks that were counted (a daemon
that was down makes nothing late), and by event time, so that a backlog is judged as it would have been at its time.

Silenced by an operator, it goes on but tells nothing until the silence ends; then it tells if it is resolved.
Acknowledged, it tells nothing until it is resolved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec

from dpiped.alarms.slices import ordered
from dpiped.alarms.table import Table

_fingerprint = attrgetter("fingerprint")
Word = Literal["firing", "again", "resolved"]


class Alarm(msgspec.Struct, array_like=True, gc=False):
    """The state of one group. JSON texts are kept as they were written, for numbers of any length."""

    fingerprint: str
    group: str
    """JSON object: the fields of the group."""
    reason: str = ""
    severity: int = 0
    score: int | float = 0
    title: str = ""
    values: str = "{}"
    """JSON object: what it was judged by last."""
    window_start: int = 0
    window_end: int = 0
    """Of the newest window in which it held."""
    windowed: bool = False
    """It holds at least until that window is closed."""
    project: str = ""
    since_ms: int = 0
    """Journaled time of the first hit."""
    last_ms: int = 0
    told_tick: int = 0
    told_ms: int = 0
    """When it was told last, in ticks and in event time."""
    told_end: int = 0
    """End of the newest window that was told."""
    quiet_tick: int | None = None
    """Since when it does not hold any more; None: it does."""
    over: bool = False
    """It is resolved, and kept for what an operator said, or because that was not told yet."""
    acked: bool = False
    silenced_until_ms: int = 0
    silent_from_ms: int = 0
    """When the silence began that was told last."""


class Hit(NamedTuple):
    """A group fulfils a condition."""

    fingerprint: str
    group: str
    reason: str
    severity: int
    score: int | float
    title: str
    values: str
    start: int
    end: int
    windowed: bool
    project: str
    fresh: bool = True
    """Events came since it was judged last; else only a window that was not told yet is worth telling."""


class Rules(NamedTuple):
    """How the board is kept."""

    most: int
    throttle_ms: int
    resolve_ms: int
    tick_ms: int
    whole_windows: bool
    """Only closed windows are judged: after one, the next says whether it goes on."""


class Board:
    """All alarms of one filter. Not task-safe."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._alarms: Table[str, Alarm] = Table()
        self.ticks = 0
        self.now_ms = 0
        """Journaled time of the pack or tick in hand."""
        self.over_limit = 0
        """Hits of groups for which there is no room; whoever counts them sets it back."""
        self.held_back = 0
        """The same of those that were silenced."""

    def __len__(self) -> int:
        return len(self._alarms)

    @property
    def alarms(self) -> Table[str, Alarm]:
        """Fingerprint -> alarm, for the state and for questions."""
        return self._alarms

    def hit(self, hit: Hit) -> Word | None:
        """Notes that a condition holds; what has to be told. That a group falls silent is news, also when it fires for
        another reason: what it did before it died is not what it does now.
        """
        alarm = self._alarms.get(hit.fingerprint)
        is_news = alarm is None
        if alarm is None:
            if len(self._alarms) >= self.rules.most:
                self.over_limit += 1
                return None
            alarm = Alarm(hit.fingerprint, hit.group, since_ms=self.now_ms)
        elif alarm.over:
            alarm.over, alarm.since_ms = False, self.now_ms
        if hit.reason == "silence" and hit.start != alarm.silent_from_ms and not self._silenced(alarm):
            is_news = True
        self._update(alarm, hit)
        self._alarms.put(alarm.fingerprint, alarm)
        word: Word | None = "firing" if is_news else self._again(alarm, hit)
        if word:
            alarm.told_tick, alarm.told_ms = self.ticks, self._time_of(hit)
            alarm.told_end = max(alarm.told_end, hit.end)
            if hit.reason == "silence":
                alarm.silent_from_ms = hit.start
        return word

    def _update(self, alarm: Alarm, hit: Hit) -> None:
        alarm.reason, alarm.severity, alarm.score = hit.reason, hit.severity, hit.score
        alarm.title, alarm.values, alarm.project = hit.title, hit.values, hit.project
        if hit.windowed != alarm.windowed or hit.end >= alarm.window_end:
            alarm.window_start, alarm.window_end = hit.start, hit.end
        alarm.windowed = hit.windowed
        alarm.last_ms, alarm.quiet_tick = self.now_ms, None

    def _again(self, alarm: Alarm, hit: Hit) -> Word | None:
        """What is told of an alarm that fires already."""
        if self._silenced(alarm):
            self.held_back += 1
            return None
        if alarm.acked or (not hit.fresh and hit.end <= alarm.told_end):
            return None
        passed = max((self.ticks - alarm.told_tick) * self.rules.tick_ms, self._time_of(hit) - alarm.told_ms)
        return "again" if passed >= self.rules.throttle_ms else None

    def _time_of(self, hit: Hit) -> int:
        """Event time at which it was found: now, or in a backlog the end of its window."""
        return min(hit.end, self.now_ms)

    def _silenced(self, alarm: Alarm) -> bool:
        return self.now_ms < alarm.silenced_until_ms

    def tick(self, closed: int) -> Iterator[Alarm | None]:
        """Called once a tick, behind all hits of it: those that are resolved now, None where others may run.
        `closed`: end of the last closed window.
        """
        return self._end(lambda alarm: alarm.over or self._is_quiet(alarm, closed))

    def _is_quiet(self, alarm: Alarm, closed: int) -> bool:
        """Whether it did not hold for long enough, by ticks."""
        if alarm.windowed and closed < alarm.window_end:
            return False
        if alarm.quiet_tick is None:
            alarm.quiet_tick = self.ticks
            self._alarms.touch(alarm.fingerprint)
        wanted = self.rules.resolve_ms
        if alarm.windowed and self.rules.whole_windows:
            wanted += alarm.window_end - alarm.window_start
        return (self.ticks - alarm.quiet_tick) * self.rules.tick_ms >= wanted

    def pass_to(self, end: int) -> Iterator[Alarm | None]:
        """All windows up to here are judged: those that are resolved by event time, None where others may run."""
        quiet_ms = max(1, self.rules.resolve_ms)
        return self._end(lambda alarm: alarm.windowed and not alarm.over and end - alarm.window_end >= quiet_ms)

    def _end(self, is_over: Callable[[Alarm], bool]) -> Iterator[Alarm | None]:
        """They are resolved; told are those that nobody silenced, the others when their silence ends."""
        # the order in which they came is not kept over a restart
        for alarm in ordered(self._alarms.values(), is_over, _fingerprint):
            if alarm is None:
                yield None
                continue
            if not alarm.over:
                alarm.over, alarm.acked = True, False
                self._alarms.touch(alarm.fingerprint)
            if self._silenced(alarm):
                continue
            self._alarms.drop(alarm.fingerprint)
            yield alarm

    def command(self, said: dict[str, Any]) -> bool:
        """What an operator says about one alarm; False: it means nothing here."""
        fingerprint = said.get("fingerprint")
        alarm = self._alarms.get(fingerprint) if isinstance(fingerprint, str) else None
        what = said.get("control")
        if alarm is None or what not in ("ack", "unack", "silence", "unsilence"):
            return False
        if what in ("ack", "unack"):
            alarm.acked = what == "ack" and not alarm.over
        elif what == "unsilence":
            alarm.silenced_until_ms = 0
        else:
            at_ms, secs = _number(said.get("at_ms")), _number(said.get("secs"))
            if at_ms is None or secs is None:
                return False
            alarm.silenced_until_ms = round(at_ms + secs * 1000)
        self._alarms.touch(alarm.fingerprint)
        return True


def _number(value: Any) -> int | float | None:
    """The value if it is a time or a number of seconds."""
    return value if type(value) in (int, float) and 0 <= value < 1e15 else None

"""What an alarm keeps beside its windows, saved and read back as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dpiped.alarms import store
from dpiped.alarms.board import Board
from dpiped.alarms.history import History
from dpiped.alarms.samples import Samples
from dpiped.alarms.table import Table
from dpiped.alarms.watch import Watch, Watched
from dpiped.panes.store import Change


class AlarmState:
    """Of one filter. Not task-safe."""

    def __init__(self, board: Board, seen: Table[bytes, bool], history: History | None, watch: Watch | None) -> None:
        self.board = board
        self.seen = seen
        self.history = history
        self.watch = watch
        self.samples = Samples()
        self.first_tick = 0
        self.first_ms: int | None = None
        """When the first event came: tick and event time."""
        self.begin: int | None = None
        """Start of the first pane: what was before it nobody knows."""
        self._saved = store.AlarmClock()
        self._alien: list[bytes] = []
        """Keys of what a config before this one kept."""

    def clear(self) -> None:
        """Forgets all but how many ticks there were."""
        self.board.alarms.clear()
        self.seen.clear()
        self.samples.clear()
        if self.history is not None:
            self.history.clear()
        if self.watch is not None:
            self.watch.groups.clear()
        self.first_ms = self.begin = None

    def changes(self) -> Iterator[Change]:
        """One by one: whoever takes only some gets the rest with the next call."""
        while self._alien:
            yield self._alien.pop(), None
        for fingerprint, alarm in self.board.alarms.changes():
            yield store.alarm_change(fingerprint, alarm)
        for place, lines in self.samples.kept.changes():
            yield store.samples_change(place, lines)
        for digest, known in self.seen.changes():
            yield store.seen_change(digest, known)
        if self.history is not None:
            for part, counts in self.history.parts.changes():
                yield store.counts_change(part, counts)
        if self.watch is not None:
            for key, watched in self.watch.groups.changes():
                yield store.watched_change(key, watched)
        clock = store.AlarmClock(self.board.ticks, self.board.now_ms, self.first_tick, self.first_ms, self.begin)
        if clock != self._saved:
            self._saved = clock
            yield store.clock_change(clock)

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """What all changes so far come to, sorted by key."""
        counts = []
        for key, value in sorted(items):
            kind = key[:1]
            if key == store.CLOCK:
                self._saved = clock = store.load_clock(value)
                self.board.ticks, self.board.now_ms = clock.ticks, clock.now_ms
                self.first_tick, self.first_ms, self.begin = clock.first_tick, clock.first_ms, clock.begin
            elif kind == b"a":
                alarm = store.load_alarm(value)
                self.board.alarms.load(alarm.fingerprint, alarm)
            elif kind == b"s":
                self.samples.load(*store.load_samples(key, value))
            elif kind == b"h" and self.history is not None:
                counts.append(store.load_counts(key, value))
            elif kind == b"n":
                self.seen.load(key[1:], True)
            elif kind == b"w" and self.watch is not None:
                group, watched = store.load_watched(value)
                self.watch.groups.load(group, Watched(*watched))
            elif kind in (b"h", b"w"):
                self._alien.append(key)
        if self.history is not None:
            self.history.load(counts)

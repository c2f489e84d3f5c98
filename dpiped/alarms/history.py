"""What whole windows counted at the same clock a day and a week ago.

Kept are windows that do not overlap: of sliding ones each that ends where a window of that length would end. What a
window between two of them counted is worked out of both, by their shares of its time. Nothing is known of a window in
which nothing came at all, so that the hours in which the daemon was down are compared with nothing.

The same clock is that of a time zone: over a change of the clock, 9:00 is compared with 9:00.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from dpiped.alarms.table import Table
from dpiped.codecs.times import DAY_MS
from dpiped.panes.periods import FixedPeriods, Periods
from dpiped.panes.shape import Key

_SLACK_MS = 3 * 3_600_000
"""A day may be so much longer than 24 hours."""
MOST = 200_000
"""Counts of groups in all windows together, about 30 MB; then the oldest windows go."""
_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


class History:
    """Of one filter. Not task-safe."""

    def __init__(self, periods: Periods, zone: str, days: int, most: int = MOST) -> None:
        self._periods = periods
        self._zone = ZoneInfo(zone)
        self._days = days
        self._most = most
        self._slots: Table[int, Mapping[Key, int]] = Table()
        """End of a window -> count of each group in it, oldest first."""
        self._size = 0

    @property
    def slots(self) -> Table[int, Mapping[Key, int]]:
        """What is kept, for the state."""
        return self._slots

    def load(self, slots: Iterable[tuple[int, Mapping[Key, int]]]) -> None:
        """What was saved, oldest first."""
        for end, counts in slots:
            self._slots.load(end, counts)
            self._size += len(counts)

    def wants(self, span: tuple[int, int]) -> bool:
        """Whether a window that closes is one of those that are kept."""
        return not isinstance(self._periods, FixedPeriods) or span[1] % self._periods.window_ms == 0

    def add(self, span: tuple[int, int], counts: Mapping[Key, int]) -> int:
        """A window that was closed; returns how many counts had to go for lack of room."""
        self._slots.put(span[1], counts)
        self._size += len(counts)
        oldest = span[0] - self._days * DAY_MS - _SLACK_MS - (span[1] - span[0])
        while next(iter(self._slots)) < oldest:
            self._drop_first()
        gone = 0
        while self._size > self._most:
            gone += self._drop_first()
        return gone

    def _drop_first(self) -> int:
        end = next(iter(self._slots))
        counts = self._slots.get(end)
        assert counts is not None
        self._slots.drop(end)
        self._size -= len(counts)
        return len(counts)

    def clear(self) -> None:
        """Forgets all."""
        self._slots.clear()
        self._size = 0

    def before(self, span: tuple[int, int], key: Key, days: int) -> float | None:
        """What the group counted in the window of the same clock so many days before; None: nobody knows."""
        start = self.same_clock(span[0], days)
        if not isinstance(self._periods, FixedPeriods):
            return self._count(self._periods.pane(start)[1], key)
        length = self._periods.window_ms
        behind = start % length
        end = start - behind + length
        first = self._count(end, key)
        if not behind or first is None:
            return first
        second = self._count(end + length, key)
        return None if second is None else (first * (length - behind) + second * behind) / length

    def _count(self, end: int, key: Key) -> int | None:
        counts = self._slots.get(end)
        return None if counts is None else counts.get(key, 0)

    def same_clock(self, at: int, days: int) -> int:
        """The moment at which clocks showed the same so many days before; of two the first, and where a clock skipped
        it, as much later as it was put forward.
        """
        there = (_EPOCH + timedelta(milliseconds=at)).astimezone(self._zone)
        then = (there.replace(tzinfo=None) - timedelta(days=days)).replace(tzinfo=self._zone)
        offset = then.utcoffset()
        assert offset is not None
        return (then.replace(tzinfo=_EPOCH.tzinfo) - offset - _EPOCH) // timedelta(milliseconds=1)

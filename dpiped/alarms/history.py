"""What whole windows counted at the same clock a day and a week ago.

Kept are windows that do not overlap: of sliding ones each that ends where a window of that length would end. What a
window between two of them counted is worked out of both, by their shares of its time. Nothing is known of a window in
which nothing came at all, so that the hours in which the daemon was down are compared with nothing.

The same clock is that of a time zone: over a change of the clock, 9:00 is compared with 9:00.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from dpiped.alarms.slices import MANY
from dpiped.alarms.table import Table
from dpiped.codecs.times import DAY_MS
from dpiped.panes.periods import FixedPeriods, Periods
from dpiped.panes.shape import Key

_SLACK_MS = 3 * 3_600_000
"""A day may be so much longer than 24 hours."""
MOST = 200_000
"""Counts of groups in all windows together, about 30 MB; then the oldest windows go."""
Part = tuple[int, int]
"""(end of a window, number from 0): some of its groups, as many as are written to the state at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


class History:
    """Of one filter. Not task-safe."""

    def __init__(self, periods: Periods, zone: str, days: int, most: int = MOST) -> None:
        self._periods = periods
        self._zone = ZoneInfo(zone)
        self._days = days
        self._most = most
        self._parts: Table[Part, Mapping[Key, int]] = Table()
        """Count of each group."""
        self._windows: dict[int, list[Mapping[Key, int]]] = {}
        """End of a window -> its parts; oldest first."""
        self._size = 0

    @property
    def parts(self) -> Table[Part, Mapping[Key, int]]:
        """What is kept, for the state."""
        return self._parts

    def load(self, parts: Iterable[tuple[Part, Mapping[Key, int]]]) -> None:
        """What was saved, oldest first."""
        for part, counts in parts:
            self._parts.load(part, counts)
            self._windows.setdefault(part[0], []).append(counts)
            self._size += len(counts)

    def wants(self, span: tuple[int, int]) -> bool:
        """Whether a window that closes is one of those that are kept."""
        return not isinstance(self._periods, FixedPeriods) or span[1] % self._periods.window_ms == 0

    def add(self, span: tuple[int, int], counts: Mapping[Key, int]) -> int:
        """A window that was closed; returns how many counts had to go for lack of room."""
        left = iter(counts.items())
        parts: list[Mapping[Key, int]] = [dict(islice(left, MANY)) for _ in range(0, max(1, len(counts)), MANY)]
        for number, some in enumerate(parts):
            self._parts.put((span[1], number), some)
        self._windows[span[1]] = parts
        self._size += len(counts)
        oldest = span[0] - self._days * DAY_MS - _SLACK_MS - (span[1] - span[0])
        while next(iter(self._windows)) < oldest:
            self._drop_first()
        gone = 0
        while self._size > self._most:
            gone += self._drop_first()
        return gone

    def _drop_first(self) -> int:
        end = next(iter(self._windows))
        parts = self._windows.pop(end)
        for number in range(len(parts)):
            self._parts.drop((end, number))
        gone = sum(map(len, parts))
        self._size -= gone
        return gone

    def clear(self) -> None:
        """Forgets all."""
        self._parts.clear()
        self._windows.clear()
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
        parts = self._windows.get(end)
        return None if parts is None else next((counts[key] for counts in parts if key in counts), 0)

    def same_clock(self, at: int, days: int) -> int:
        """The moment at which clocks showed the same so many days before; of two the first, and where a clock skipped
        it, as much later as it was put forward.
        """
        there = (_EPOCH + timedelta(milliseconds=at)).astimezone(self._zone)
        then = (there.replace(tzinfo=None) - timedelta(days=days)).replace(tzinfo=self._zone)
        offset = then.utcoffset()
        assert offset is not None
        return (then.replace(tzinfo=_EPOCH.tzinfo) - offset - _EPOCH) // timedelta(milliseconds=1)

"""How time is cut: panes, which never overlap, and the windows that are made of them. All times in milliseconds.

Windows are half-open [start, end). Fixed ones are aligned to the epoch and are a whole number of panes long; calendar
ones are one pane long and begin where an hour, day, week (Monday) or month begins in a time zone: a day of a change of
the clock has 23 or 25 hours. Zones change at whole seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Calendar = Literal["hour", "day", "week", "month"]
EARLIEST_MS, LATEST_MS = -62_000_000_000_000, 253_000_000_000_000
"""What calendars can tell: the years 5 to 9987. Older events count to the first period, later are too far ahead."""
_HOUR_MS = 3_600_000


class Periods(ABC):
    """One way to cut time."""

    @abstractmethod
    def pane(self, at: int) -> tuple[int, int]:
        """(start, end) of the pane that holds this moment."""

    @abstractmethod
    def pane_name(self) -> str:
        """Names the cut into panes: equal for all whose panes can be merged."""

    @abstractmethod
    def window_start(self, end: int) -> int:
        """Start of the window that ends here."""

    @abstractmethod
    def last_end(self, pane: tuple[int, int]) -> int:
        """End of the last window that the pane belongs to."""

    @abstractmethod
    def oldest_pane(self, closed: int) -> int:
        """Start of the oldest pane that belongs to a window which ends after `closed`, the end of a window."""

    def floor(self, at: int) -> int:
        """The last end of a window at or before this moment."""
        return self.pane(at)[0]

    def next_end(self, end: int) -> int:
        """The first end of a window after this one."""
        return self.pane(end)[1]


class FixedPeriods(Periods):
    """Windows of one length, a slide apart; the slide divides the length."""

    def __init__(self, window_ms: int, slide_ms: int) -> None:
        self.window_ms = window_ms
        self.slide_ms = slide_ms

    def pane(self, at: int) -> tuple[int, int]:
        start = at - at % self.slide_ms
        return start, start + self.slide_ms

    def window_start(self, end: int) -> int:
        return end - self.window_ms

    def last_end(self, pane: tuple[int, int]) -> int:
        return pane[0] + self.window_ms

    def oldest_pane(self, closed: int) -> int:
        return closed - self.window_ms + self.slide_ms

    def pane_name(self) -> str:
        return f"{self.slide_ms}"

    def __repr__(self) -> str:
        return f"{self.window_ms}/{self.slide_ms}"


class CalendarPeriods(Periods):
    """Hours, days, weeks or months of a time zone."""

    def __init__(self, period: Calendar, zone: str) -> None:
        self.period = period
        self.zone = ZoneInfo(zone)
        self._last = (0, 0)
        """The pane that was asked for last: most questions are about it."""

    def pane(self, at: int) -> tuple[int, int]:
        if not self._last[0] <= at < self._last[1]:
            at = min(max(at, EARLIEST_MS), LATEST_MS)
            self._last = self._hour(at) if self.period == "hour" else self._days(at)
        return self._last

    def window_start(self, end: int) -> int:
        return self.pane(end - 1)[0]

    def last_end(self, pane: tuple[int, int]) -> int:
        return pane[1]

    def oldest_pane(self, closed: int) -> int:
        return closed

    def _days(self, at: int) -> tuple[int, int]:
        """A day may begin twice or, where a zone skips it, never; what counts is the first moment of its date."""
        first = self._first_day(self._local(at).date())
        while self._moment(first) > at:
            first = self._first_day(first - timedelta(days=1))
        while (end := self._moment(self._next(first))) <= at:
            first = self._next(first)
        return self._moment(first), end

    def _first_day(self, day: date) -> date:
        if self.period == "week":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.period == "month" else day

    def _next(self, first: date) -> date:
        """First day of the period behind."""
        if self.period == "month":
            return (first + timedelta(days=31)).replace(day=1)
        return first + timedelta(days=7 if self.period == "week" else 1)

    def _moment(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()) * 1000

    def _local(self, at: int) -> datetime:
        # not fromtimestamp, which rounds; the epoch plus a difference is exact
        return (datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(milliseconds=at)).astimezone(self.zone)

    def _offset(self, at: int) -> int:
        offset = self._local(at).utcoffset()
        assert offset is not None
        return int(offset.total_seconds()) * 1000

    def _hour(self, at: int) -> tuple[int, int]:
        """An hour ends early where the clock is changed by less than an hour in the middle of it."""
        offset = self._offset(at)
        start = at - (at + offset) % _HOUR_MS
        end = start + _HOUR_MS
        if self._offset(start) != offset:
            start = self._change(start, at)
        if self._offset(end - 1) != offset:
            end = self._change(at, end - 1)
        return start, end

    def _change(self, before: int, after: int) -> int:
        """The moment in (before, after] from which the offset is that of `after`; nothing else changes between."""
        new = self._offset(after)
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (before, middle) if self._offset(middle) == new else (middle, after)
        return after

    def pane_name(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"{self.period}/{self.zone.key}"

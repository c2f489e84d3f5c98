"""Hours in which nobody is to be disturbed: `22:00-07:00`, by the clock of a time zone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_SPAN = re.compile(r"([01]?\d|2[0-4])(?::([0-5]\d))?-([01]?\d|2[0-4])(?::([0-5]\d))?", re.ASCII)
DAY = 24 * 60


def check_span(text: str) -> str:
    """For config fields."""
    minutes_of(text)
    return text


def check_zone(name: str) -> str:
    """For config fields."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError("expected a time zone such as Europe/Berlin, that the system's tzdata knows") from exc
    return name


def minutes_of(text: str) -> frozenset[int]:
    """The minutes of a day that a span covers; it may go over midnight. Raises ValueError."""
    match = _SPAN.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError('expected hours such as "22:00-07:00" or "0-6"')
    first, last = (int(match[at]) * 60 + int(match[at + 1] or 0) for at in (1, 3))
    if first > DAY or last > DAY:
        raise ValueError("a day ends at 24:00")
    if first % DAY == last % DAY:
        raise ValueError("the span is empty, or a whole day: from and to are the same")
    minute, found = first % DAY, set()
    while minute != last % DAY:
        found.add(minute)
        minute = (minute + 1) % DAY
    return frozenset(found)


class Hours:
    """The union of some spans."""

    def __init__(self, spans: Iterable[str], zone: str) -> None:
        self._minutes = frozenset().union(*map(minutes_of, spans))
        self._zone = ZoneInfo(zone)

    @property
    def always(self) -> bool:
        """No minute is left."""
        return len(self._minutes) == DAY

    def hold(self, now_ms: int) -> float:
        """Seconds until it is worth to ask again; 0 outside of these hours. At most a minute, so that a change to
        summer time needs no thought.
        """
        moment = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self._zone)
        if moment.hour * 60 + moment.minute not in self._minutes:
            return 0.0
        return 60.0 - (now_ms / 1000) % 60

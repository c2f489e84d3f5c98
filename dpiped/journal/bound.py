"""A place in the journal as an operator names it: a time or an offset.

    1234                        an offset
    2026-03-01T12:00:00Z        a time, RFC 3339; without a zone it is UTC; a date alone is its midnight
    -90s  -15m  -2h  -3d        so long ago

A time means the moment at which the daemon accepted a pack, never the times of the events in it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from dpiped.errors import WrongArgumentError
from dpiped.pack import Head

_AGO = re.compile(r"-([0-9]{1,12}(?:\.[0-9]{1,12})?)([smhd])")
MOST_DIGITS = 40
"""Of an offset."""
_SECS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
EXPECTED = "expected an offset, a time such as 2026-03-01T12:00:00Z, or how long ago, such as -2h"


class Bound(NamedTuple):
    """One end of a range; exactly one of the two is set."""

    offset: int | None = None
    ms: int | None = None

    def reached_by(self, head: Head) -> bool:
        """Whether the pack stands at or behind this place."""
        return head.offset >= self.offset if self.offset is not None else head.accepted_ms >= (self.ms or 0)


class BoundError(WrongArgumentError):
    """The text is neither a time nor an offset."""


def parse_bound(text: str, now_ms: int) -> Bound:
    """Raises BoundError, with what is expected instead."""
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS:
        return Bound(offset=int(text))
    ago = _AGO.fullmatch(text)
    if ago:
        return Bound(ms=now_ms - round(float(ago[1]) * _SECS[ago[2]] * 1000))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise BoundError(f'"{text[:40]}": {EXPECTED}') from exc
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Bound(ms=round(moment.timestamp() * 1000))


def parse_range(start: str | None, end: str | None, now_ms: int) -> tuple[Bound | None, Bound | None]:
    """`--from` and `--to`. Raises BoundError."""
    low = None if start is None else parse_bound(start, now_ms)
    high = None if end is None else parse_bound(end, now_ms)
    if low is not None and high is not None and (low.offset is None) == (high.offset is None) and low >= high:
        raise BoundError(f'"{end}" is not behind "{start}": there is nothing from the one up to the other')
    return low, high


def show_ms(ms: int) -> str:
    """A time for people, in UTC; `-` for none."""
    if not ms:
        return "-"
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return str(ms)

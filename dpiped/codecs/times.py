"""Where the time of an event stands and how it is written; it becomes integer milliseconds since the epoch, UTC.

Logs repeat themselves, so every parser here remembers what it has read lately, in dicts that are emptied when full.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from pydantic import ConfigDict

MILLISECONDS_FROM = 100_000_000_000
"""A number from here on is taken as milliseconds (1973-03-03), below as seconds (until the year 5138)."""
LAST_MS = 253_402_300_799_999
"""The end of the year 9999; what is later is no time."""
DAY_MS = 86_400_000
_REMEMBERED = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_FRACTION = len(".000000000000")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)([.,]\d{1,12})?\s?([Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeSpec:
    """`time = { field = "ts", format = .. }` of an input."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    field: str
    """Path of the field that holds the time."""
    format: str = "rfc3339"
    """"rfc3339", "unix" (seconds, may be a float), "unix_ms", or a strptime format."""
    zone: str = "UTC"
    """IANA zone of times that name none."""


def find_zone(name: str) -> tzinfo:
    """The zone of an IANA name. Raises ValueError with a text for the user."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError(f"unknown time zone {name!r}: expected an IANA name such as Europe/Berlin") from exc


def in_range(ms: float) -> bool:
    """Whether a number can be a time in milliseconds at all."""
    return -LAST_MS <= ms <= LAST_MS


class Rfc3339:
    """Parses RFC 3339 and what comes near: a space for the T, a comma for the point, no colon or no zone at all.

    Thread-safe. The fraction is cut to milliseconds; a leap second is the second after. A known text is the sum of
    `dates[text[:19]]` and `rests[text[19:]]`, which a hot loop may look up by itself.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self.dates: dict[str, int] = {}
        self.rests = _Rests()

    def parse(self, text: str) -> int | None:
        """Milliseconds, or None if the text is no such time."""
        try:
            return self.dates[text[:19]] + self.rests[text[19:]]
        except KeyError:
            return self._parse(text)

    def _parse(self, text: str) -> int | None:
        match = _RFC3339.fullmatch(text)
        if match is None:
            return None
        whole, fraction, offset = match.groups()
        leap = whole.endswith(":60")
        try:
            moment = datetime.fromisoformat(whole[:-2] + "59" if leap else whole)
            shift = 0 if offset is None else _offset_ms(offset)
        except ValueError:
            return None
        ms = to_ms(moment.replace(tzinfo=self._zone if offset is None else UTC)) + 1000 * leap
        rest = int((fraction or ".0")[1:4].ljust(3, "0")) - shift
        if offset is not None or self._zone is UTC:  # then the parts mean the same in every text, and are remembered
            if len(self.dates) > _REMEMBERED or len(self.rests) > _REMEMBERED:
                self.dates.clear()
                self.rests.clear()
            self.dates[whole] = ms
            self.rests.learn(text[19:], fraction or "", rest, -shift)
        return ms + rest


class _Rests(dict[str, int]):
    """Fraction and zone of a time -> milliseconds. Fractions of microseconds are too many to be kept: those are put
    together of their first three digits and their zone, where both are known.
    """

    def __init__(self) -> None:
        super().__init__()
        self._millis: dict[str, int] = {}
        self._zones: dict[str, int] = {}

    def learn(self, rest: str, fraction: str, ms: int, zone_ms: int) -> None:
        """`rest` begins with `fraction` and makes `ms`, of which `zone_ms` come from its zone."""
        if len(fraction) <= len(".000"):
            self[rest] = ms
        else:
            self._millis[fraction[:4]] = ms - zone_ms
            self._zones[rest.removeprefix(fraction)] = zone_ms

    def __missing__(self, rest: str) -> int:
        zone = rest[4:].lstrip("0123456789")
        if len(rest) - len(zone) > _LONGEST_FRACTION:
            raise KeyError(rest)
        return self._millis[rest[:4]] + self._zones[zone]


def _offset_ms(offset: str) -> int:
    if offset in "Zz":
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        raise ValueError(offset)
    return (hours * 60 + minutes) * 60_000 * (-1 if offset[0] == "-" else 1)


def to_ms(moment: datetime) -> int:
    """Milliseconds of an aware datetime, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


parse_rfc3339 = Rfc3339().parse


def read_time(value: object) -> int | None:
    """Milliseconds of what an event brings as `@timestamp`: a number (see MILLISECONDS_FROM) or RFC 3339; else None."""
    if isinstance(value, str):
        return parse_rfc3339(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_MS:  # nor NaN
        return None
    ms = int(value) if value >= MILLISECONDS_FROM else round(value * 1000)
    return ms if ms <= LAST_MS else None


def nearest_year(moment: datetime, accepted_ms: int) -> datetime | None:
    """Gives a time without year the latest year in which it is at most a day after `accepted_ms`.

    So a December read in January is last year's, and a clock a little ahead on New Year's Eve is believed.
    """
    latest = accepted_ms + DAY_MS
    this_year = (_EPOCH + timedelta(milliseconds=accepted_ms)).year
    for year in range(this_year + 1, this_year - 9, -1):  # 29 February may be up to eight years away
        try:
            candidate = moment.replace(year=year)
        except ValueError:
            continue
        if to_ms(candidate) <= latest:
            return candidate
    return None


class TimeReader:
    """Reads the values of one TimeSpec's field. Thread-safe."""

    def __init__(self, spec: TimeSpec) -> None:
        self._zone = find_zone(spec.zone)
        self._format = spec.format
        self._has_year = not _is_pattern(spec.format) or any(code in spec.format for code in YEAR_CODES)
        self._rfc3339 = Rfc3339(self._zone)
        self._known: dict[tuple[str, int], int | None] = {}

    def read(self, value: Any, accepted_ms: int) -> int | None:
        """Milliseconds of a field's value (text or number); None if it is no time of this format."""
        if self._format == "rfc3339":
            return self._rfc3339.parse(value) if isinstance(value, str) else None
        if not _is_pattern(self._format):
            return self._number(value, 1000 if self._format == "unix" else 1)
        if isinstance(value, str | int) and not isinstance(value, bool):  # a date such as 20140109 may come as a number
            return self._text(str(value), accepted_ms)
        return None

    def _number(self, value: Any, factor: int) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value) * factor
            ms = value * factor if isinstance(value, int) else round(number)
        except (ValueError, OverflowError):
            return None
        return ms if in_range(ms) else None

    def _text(self, text: str, accepted_ms: int) -> int | None:
        # a year that is not written follows from the day of acceptance, so that is part of what is remembered
        key = text, 0 if self._has_year else accepted_ms // DAY_MS
        try:
            return self._known[key]
        except KeyError:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            ms = self._known[key] = self._strptime(text, accepted_ms)
            return ms

    def _strptime(self, text: str, accepted_ms: int) -> int | None:
        try:
            if self._has_year:
                moment: datetime | None = datetime.strptime(text, self._format)  # noqa: DTZ007 - the zone is set below
            else:  # without a year strptime takes 1900, which has no 29 February
                moment = datetime.strptime(f"2000 {text}", f"%Y {self._format}")  # noqa: DTZ007
            if moment is not None and moment.tzinfo is None:
                moment = moment.replace(tzinfo=self._zone)
            if moment is not None and not self._has_year:
                moment = nearest_year(moment, accepted_ms)
        except (ValueError, OverflowError):
            return None
        return None if moment is None else to_ms(moment)


YEAR_CODES = ("%Y", "%y", "%G", "%c", "%x", "%s")


def _is_pattern(text: str) -> bool:
    return "%" in text


def check_spec(spec: TimeSpec) -> TimeSpec:
    """Raises ValueError where the spec cannot work."""
    find_zone(spec.zone)
    if not spec.field:
        raise ValueError("field: expected the path of a field")
    check_format(spec.format)
    return spec


def check_format(text: str) -> str:
    """Raises ValueError if the text is no time format."""
    if text in ("rfc3339", "unix", "unix_ms"):
        return text
    if not _is_pattern(text):
        raise ValueError('expected "rfc3339", "unix", "unix_ms" or a strptime format such as "%d/%b/%Y:%H:%M:%S %z"')
    try:
        datetime.strptime("", text)  # noqa: DTZ007 - only the format is looked at
    except ValueError as exc:
        if "does not match" not in str(exc):
            raise ValueError(f"bad strptime format: {exc}") from exc
    return text

"""Where the time of an event stands and how it is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeSpec:
    """`time = { field = "ts", format = .. }` of an input."""

    field: str
    format: str = "rfc3339"
    """"rfc3339", "unix" (seconds, may be a float), "unix_ms", or a strptime format."""
    zone: str = "UTC"
    """IANA zone of times that name none."""

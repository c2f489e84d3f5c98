"""Severity: one number for how bad an event is, higher = worse. Alarms bring it; logs bring names, told apart here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SEVERITIES: Mapping[str, float] = {
    **dict.fromkeys(("debug", "trace", "verbose"), 1.0),
    **dict.fromkeys(("info", "informational"), 2.0),
    "notice": 5.0,
    **dict.fromkeys(("warning", "warn"), 10.0),
    **dict.fromkeys(("error", "err"), 50.0),
    **dict.fromkeys(("crit", "critical", "fatal"), 100.0),
    "alert": 200.0,
    **dict.fromkeys(("emerg", "emergency", "panic"), 500.0),
}
"""The names of syslog and of log libraries, in small letters, on the scale of alarms (0 to 1,000, an alarm has 10)."""
DEFAULT_SEVERITY = 10.0
"""That of an event that brings none, as of an alarm."""


def severity_of(event: Mapping[str, Any], field: str) -> float | None:
    """What the event says in this field: a finite number, or a known name in any case; None for everything else."""
    value = _field(event, field)
    return SEVERITIES.get(value.strip().lower()) if isinstance(value, str) else number(value)


def number(value: object) -> float | None:
    """A finite number; None for everything else, `true` included."""
    if type(value) not in (int, float):
        return None
    try:
        found = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _field(event: Mapping[str, Any], path: str) -> object:
    """By its literal name first, then by its dotted path."""
    if path in event:
        return event[path]
    value: object = event
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value

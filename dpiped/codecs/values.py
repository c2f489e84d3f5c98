"""Texts to typed values, and rows of them to events: what csv and regex share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dpiped.codecs.base import DecodeContext, Part, lacking
from dpiped.codecs.config import FieldKind
from dpiped.codecs.settle import settle
from dpiped.projection import TIMESTAMP

_TRUE = frozenset(("true", "t", "yes", "y", "on", "1"))
_FALSE = frozenset(("false", "f", "no", "n", "off", "0"))


def to_int(text: str) -> int:
    """A whole number of 64 bits, of up to 20 characters with the blanks around it. Raises ValueError; Python's own
    underscores are refused.
    """
    number = int(text) if len(text) <= 20 and "_" not in text else None
    if number is None or not -(2**63) <= number < 2**64:
        raise ValueError(text)
    return number


def to_float(text: str) -> float:
    """A finite number. Raises ValueError."""
    number = float(text)
    if "_" in text or not math.isfinite(number):
        raise ValueError(text)
    return number


def to_bool(text: str) -> bool:
    """true/false, yes/no, on/off, t/f, y/n, 1/0 in any case. Raises ValueError."""
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(text)


KINDS: dict[FieldKind, Callable[[str], Any]] = {"str": str, "int": to_int, "float": to_float, "bool": to_bool}


def typed(
    names: Sequence[str], kinds: Sequence[FieldKind], values: Sequence[str | None], counts: Counter[str]
) -> dict[str, Any]:
    """The event of one row; what does not fit its kind is counted.

    None, and an empty text that should be typed, are absent.
    """
    event: dict[str, Any] = {}
    for name, kind, value in zip(names, kinds, values, strict=True):
        if value is None:
            continue
        if kind == "str":
            event[name] = value
        elif value:
            try:
                event[name] = KINDS[kind](value)
            except ValueError:
                counts["type_failed"] += 1
    return event


def part_of(
    events: list[dict[str, Any]],
    names: Sequence[str],
    hosts: Sequence[str] | None,
    context: DecodeContext,
    counts: Counter[str],
    timed: bool,
) -> Part:
    """The part of some events.

    Args:
        names: the fields that they may have.
        timed: the codec has set all times; else they are looked for as in JSON. The input's TimeSpec goes before both.
    """
    if timed and context.time is None and hosts is None:
        body = msgspec.json.Encoder().encode_lines(events)
        stamps = [event[TIMESTAMP] for event in events]
        return Part("", body, len(events), min(stamps), max(stamps), None, lacking(hosts, names))
    if hosts is not None:
        events = [{"_host": host, **event} for host, event in zip(hosts, events, strict=True)]
    lines = msgspec.json.Encoder().encode_lines(events).split(b"\n")[:-1]
    return settle(lines, context, counts, timed=timed)

"""Gives JSON objects their time and host: the last step of the codecs that get whole objects from outside.

`@timestamp` becomes integer milliseconds, whatever it was; the key never stands twice, and all other bytes stay as
they are.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from dpiped.codecs.base import DecodeContext, Part
from dpiped.codecs.lines import check_body, splice, strict_object
from dpiped.codecs.times import LAST_MS, MILLISECONDS_FROM, TimeReader, read_time
from dpiped.errors import CodecError
from dpiped.projection import TIMESTAMP, Projection

TIME_KEY, HOST_KEY = b'"@timestamp"', b'"_host"'


def bounds(column: Sequence[Any]) -> tuple[int, int] | None:
    """(smallest, largest) if all are integer milliseconds, else None."""
    if len(column) < 64:  # numpy costs more than it saves
        if set(map(type, column)) != {int}:
            return None
        low, high = min(column), max(column)
        return (low, high) if low >= MILLISECONDS_FROM and high <= LAST_MS else None
    try:
        stamps = np.frombuffer(array("q", column), np.int64)
    except (TypeError, OverflowError):
        return None
    low, high = int(stamps.min()), int(stamps.max())  # a bool counts as 0 or 1 here, and falls below the border
    return (low, high) if low >= MILLISECONDS_FROM and high <= LAST_MS else None


def settle(
    lines: Sequence[bytes],
    context: DecodeContext,
    counts: Counter[str],
    hosts: Sequence[str] | None = None,
    suffix: str = "",
    timed: bool = False,
) -> Part:
    """Makes a part of structurally right lines, one object each.

    Args:
        hosts: shape of `lines`; `_host` of the events that have none.
        counts: gets `time_missing` and `time_invalid`.
        timed: whole numbers in `@timestamp` are milliseconds already, also those before 1973.
    """
    body = b"\n".join(lines) + b"\n"
    events = check_body(body, context.projection)
    if events is None:  # some value cannot be read
        events = context.projection.decode(body)
    if len(events) != len(lines):
        raise CodecError("events fell apart while their time was set")
    column = context.projection.times(events)
    named = _named_times(body, context)
    if bounds(column) is None or named is not None or hosts is not None:
        lowest = -LAST_MS if timed else MILLISECONDS_FROM
        stamps = _stamps(column, named, context.accepted_ms, lowest, counts)
        out = [
            line if was is now else with_time(line, now)  # the same object says that it can stay
            for line, was, now in zip(lines, column, stamps, strict=True)
        ]
        if hosts is not None:
            out = with_hosts(out, hosts)
        body = b"\n".join(out) + b"\n"
        events, column = context.projection.decode(body), stamps
    return Part(suffix, body, len(lines), min(column), max(column), events)


def _named_times(body: bytes, context: DecodeContext) -> list[int | None] | None:
    """The times that the input's TimeSpec points at, shape (n_events,); None if there is no TimeSpec."""
    if context.time is None:
        return None
    projection, reader = Projection.of([context.time.field]), TimeReader(context.time)
    values = projection.column(projection.decode(body), context.time.field)
    return [None if value is None else reader.read(value, context.accepted_ms) for value in values]


def _stamps(
    column: list[Any], named: list[int | None] | None, accepted_ms: int, lowest: int, counts: Counter[str]
) -> list[int]:
    """Milliseconds of each event: the named field, else its own `@timestamp`, else the time of acceptance."""
    stamps: list[int] = []
    for index, value in enumerate(column):
        ms = None if named is None else named[index]
        if ms is None:
            usable = type(value) is int and lowest <= value <= LAST_MS
            ms = value if usable else read_time(value)
        if ms is None:
            counts["time_missing" if value is None else "time_invalid"] += 1
            ms = accepted_ms
        stamps.append(ms)
    return stamps


def with_time(line: bytes, ms: int) -> bytes:
    """The object with this `@timestamp`, in front; one it had is taken out."""
    member = b'"@timestamp":%d' % ms
    if TIME_KEY not in line and b"\\u" not in line:
        return splice(line, member)
    members = strict_object.decode(line)
    members.pop(TIMESTAMP, None)
    rest = msgspec.json.encode(members)
    return splice(rest, member)


def with_hosts(lines: Sequence[bytes], hosts: Sequence[str]) -> list[bytes]:
    """Each object with the `_host` of its peer, unless it has one."""
    members = {host: HOST_KEY + b":" + msgspec.json.encode(host) for host in set(hosts)}
    return [
        line if HOST_KEY in line and "_host" in strict_object.decode(line) else splice(line, members[host])
        for line, host in zip(lines, hosts, strict=True)
    ]

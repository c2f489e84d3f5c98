"""Codec `als`: lines `area,ts,{json}`, or `:category,area,ts,{json}`.

Split at the first commas only, nothing trimmed; a CR before the line end belongs to it. The event gets `@timestamp`
and `_area` in front, also where the payload has such keys of its own; the category becomes the suffix of the part.
An empty payload is `{}`. Source: the Go library als (order of the checks); its window of 60 days is meant to reach
both ways, for seconds and milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from dpiped.codecs.als_body import Bodies, bodies_of, suffix_of, tidy
from dpiped.codecs.base import BOM, Codec, DecodeContext, Decoded, Part, Rejected
from dpiped.codecs.config import AlsCodecConfig
from dpiped.codecs.lines import (
    DecodeFailure,
    check_lines,
    cut_lines,
    decode_all,
    find_good,
    has_key,
    newlines,
    strict_object,
    to_lines,
    why_bad,
)
from dpiped.codecs.settle import bounds, settle, with_hosts
from dpiped.codecs.times import DAY_MS, LAST_MS
from dpiped.pack import ALS

SECONDS_UP_TO = 1_283_931_748_344
"""A larger stamp is in milliseconds."""
OLDEST_SECONDS = 1_262_275_200
"""2010-01-01 +08:00: stamps before it are rejected."""
WINDOW_MS = 60 * DAY_MS
_MOST_DIGITS = 15


class _Line(NamedTuple):
    number: int
    raw: bytes
    category: str
    made: bytes


@dataclass(slots=True)
class _Made:
    lines: list[_Line] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    corrected: int = 0


class AlsCodec(Codec):
    """Stateless."""

    weighty = (b"\n", b"{", b"[")
    light_weight = 15_000

    def decode_quickly(self, data: bytes, context: DecodeContext) -> Decoded | None:
        return _quick(data, context)

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        if not data.strip(b"\r\n"):
            return Decoded()
        return _quick(data, context) or _careful(to_lines(data.removeprefix(BOM)), context)

    def encode(self, body: bytes) -> bytes:
        """Lines without category; `_area` is `-` where an event has none."""
        out = []
        for line in body.split(b"\n")[:-1]:
            members = strict_object.decode(line)
            stamp = bytes(members.pop("@timestamp"))
            area = msgspec.json.decode(members.pop("_area", msgspec.Raw(b'"-"')))
            name = str(area).replace(",", "_").replace("\n", " ").encode()
            out.append(b"%b,%b,%b\n" % (name, stamp, msgspec.json.encode(members)))
        return b"".join(out)

    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        return cut_lines(data, most_bytes)


def build(config: AlsCodecConfig) -> Codec:
    """The codec of this config; it has no options."""
    return AlsCodec()


def _quick(data: bytes, context: DecodeContext) -> Decoded | None:
    """The answer if all lines have stamps in milliseconds and nothing has to be looked at one by one; else None."""
    if context.time is not None or context.hosts is not None or data.startswith(BOM):
        return None
    data = tidy(data)
    octets = np.frombuffer(data, np.uint8)
    ends = newlines(octets)
    if not check_lines(data, octets, ends) or _has_own_keys(data):
        return None
    bodies = bodies_of(data, ends)
    parts = _parts(bodies, context) if bodies is not None else None
    if parts is None:
        return None
    return Decoded(parts, form=ALS if len(parts) == 1 else None)


def _has_own_keys(data: bytes) -> bool:
    """Whether payloads may bring an `@timestamp` or `_area`."""
    return (b"@" in data and b'"@timestamp"' in data) or has_key(data, b"_area")


def _parts(found: Bodies, context: DecodeContext) -> list[Part] | None:
    """One part a suffix, all decoded together; None if anything is wrong or to be corrected."""
    count, bodies = found
    body = b"".join(body for _, body in bodies.values())
    events = decode_all(body, count, context.projection)
    if events is None:
        return None
    column = context.projection.times(events)
    limits = bounds(column)
    if limits is None or limits[0] <= SECONDS_UP_TO or not (context.keep_old or _near(*limits, context.accepted_ms)):
        return None
    if len(bodies) == 1:
        return [Part(next(iter(bodies)), body, count, *limits, events)]
    parts, start = [], 0
    for suffix, (size, each) in bodies.items():
        stamps = column[start : start + size]
        parts.append(Part(suffix, each, size, min(stamps), max(stamps), events[start : start + size]))
        start += size
    return parts


def _near(low: int, high: int, accepted_ms: int) -> bool:
    return accepted_ms - WINDOW_MS <= low and high <= accepted_ms + WINDOW_MS


def _careful(lines: Sequence[bytes], context: DecodeContext) -> Decoded:
    """Each line by itself; the payloads are then checked together."""
    made = _make_all(lines, context)
    good, bad = find_good([line.made for line in made.lines], context.projection)
    answer = Decoded(rejected=made.rejected)
    for index, reason in bad:
        answer.rejected.append(Rejected(made.lines[index].number, f"payload: {reason}", made.lines[index].raw))
    answer.rejected.sort(key=lambda rejected: rejected.line)
    groups: dict[str, list[_Line]] = {}
    for index in good:
        groups.setdefault(made.lines[index].category, []).append(made.lines[index])
    counts: Counter[str] = Counter()
    for suffix, members in groups.items():
        out = [line.made for line in members]
        if context.hosts is not None:
            out = with_hosts(out, [context.hosts[line.number - 1] for line in members])
        answer.parts.append(settle(out, context, counts, suffix=suffix, timed=True))
    if made.corrected:
        counts["time_corrected"] = made.corrected
    answer.counts = counts
    return answer


def _make_all(lines: Sequence[bytes], context: DecodeContext) -> _Made:
    made = _Made()
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            category, rest = _split_category(line)
            area, stamp, payload = _split(rest)
            ms, corrected = _milliseconds(stamp, context)
            made.lines.append(_Line(number, line, category, _make(area, ms, payload)))
            made.corrected += corrected
        except ValueError as exc:
            made.rejected.append(Rejected(number, str(exc), line))
    return made


def _split_category(line: bytes) -> tuple[str, bytes]:
    if line[:1] != b":":
        return "", line
    category, _, rest = line.partition(b",")
    suffix = suffix_of(category)
    if suffix is None:
        raise ValueError("category: expected letters, digits, _ and -")
    return suffix, rest


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    fields = line.split(b",", 2)
    if len(fields) < 3:
        raise ValueError("not 3 fields")
    if not fields[0]:
        raise ValueError("empty area")
    return fields[0], fields[1], fields[2]


def _milliseconds(stamp: bytes, context: DecodeContext) -> tuple[int, bool]:
    """(time in milliseconds, whether it is that of acceptance instead of the line's own)."""
    if not stamp.isdigit():
        raise ValueError("timestamp is not a number")
    if len(stamp.lstrip(b"0")) > _MOST_DIGITS:
        raise ValueError("timestamp out of range")
    number = int(stamp)
    ms = number if number > SECONDS_UP_TO else number * 1000
    if context.keep_old:
        if ms > LAST_MS:
            raise ValueError("timestamp out of range")
        return ms, False
    if number < OLDEST_SECONDS:
        raise ValueError("timestamp too old")
    if abs(ms - context.accepted_ms) > WINDOW_MS:
        return context.accepted_ms, True
    return ms, False


def _make(area: bytes, ms: int, payload: bytes) -> bytes:
    try:
        name = msgspec.json.encode(area.decode())
    except UnicodeDecodeError as exc:
        raise ValueError("area: invalid UTF-8") from exc
    front = b'{"@timestamp":%d,"_area":%b' % (ms, name)
    if payload in (b"", b"{}"):
        return front + b"}"
    if payload[:1] != b"{" or payload[-1:] != b"}":
        raise ValueError("payload not json")
    if b'"@timestamp"' in payload or b'"_area"' in payload or b"\\u00" in payload or payload[1:-1].isspace():
        return _without_own_keys(front, payload)
    return front + b"," + payload[1:]


def _without_own_keys(front: bytes, payload: bytes) -> bytes:
    """The line's time and area win over those of the payload."""
    try:
        payload.decode()
        members = strict_object.decode(payload)
    except DecodeFailure as exc:
        raise ValueError(f"payload: {why_bad(payload) or exc}") from exc
    members.pop("@timestamp", None)
    members.pop("_area", None)
    rest = msgspec.json.encode(members)[1:]
    return front + (b"}" if rest == b"}" else b"," + rest)

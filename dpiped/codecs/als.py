"""Codec `als`: lines `area,ts,{json}`, or `:category,area,ts,{json}`.

Split at the first commas only, nothing trimmed; a CR before the line end belongs to it. The event gets `@timestamp`
and `_area` in front, also where the payload has such keys of its own; the category becomes the suffix of the part.
An empty payload is `{}`. Source: the Go library als (order of the checks); its window of 60 days is meant to reach
both ways, for seconds and milliseconds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dpiped.codecs.base import Codec, DecodeContext, Decoded, Part, Rejected
from dpiped.codecs.config import AlsCodecConfig
from dpiped.codecs.lines import (
    DecodeFailure,
    check_lines,
    cut_lines,
    decode_all,
    find_good,
    newlines,
    strict_object,
    to_lines,
    why_bad,
)
from dpiped.codecs.settle import bounds, settle, with_hosts
from dpiped.codecs.times import DAY_MS, LAST_MS
from dpiped.config.base import is_ident

SECONDS_UP_TO = 1_283_931_748_344
"""A larger stamp is in milliseconds."""
OLDEST_SECONDS = 1_262_275_200
"""2010-01-01 +08:00: stamps before it are rejected."""
WINDOW_MS = 60 * DAY_MS
_MOST_DIGITS = 15
_REMEMBERED = 10_000
_LINE = re.compile(rb"\n((?::[^,\n]*,)?[^,\n]*),([0-9]{13}),\{")
"""The newline before a line and all in front of its payload, if the stamp is in milliseconds."""


class _Head(NamedTuple):
    """What stands before the stamp of a line, such as `:click,us`."""

    suffix: str
    front: bytes
    """What follows the stamp in the event."""


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
    """Stateless but for the heads of lines that it remembers."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Head] = {}

    weighty = (b"\n", b"{", b"[")
    light_weight = 10_000

    def decode_quickly(self, data: bytes, context: DecodeContext) -> Decoded | None:
        parts = _quick(data, context, self._known)
        return None if parts is None else Decoded(parts)

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        if not data.strip(b"\r\n"):
            return Decoded()
        parts = _quick(data, context, self._known)
        return _careful(to_lines(data), context) if parts is None else Decoded(parts)

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


def _read_head(head: bytes) -> _Head:
    """Raises ValueError for a head that is not plain: the careful way says what is wrong with it, if anything."""
    *category, area = head.split(b",")
    suffix = _suffix(category[0]) if category else ""
    if suffix is None or not area or len(category) > 1 or (not category and area[:1] == b":"):
        raise ValueError(head)
    return _Head(suffix, b',"_area":%b,' % msgspec.json.encode(area.decode()))


def _quick(data: bytes, context: DecodeContext, known: dict[bytes, _Head]) -> list[Part] | None:
    """The parts, if all lines have stamps in milliseconds and nothing has to be looked at one by one; else None.

    One call of a pattern takes all lines apart: where as many lines match as there are, each does.
    """
    if context.time is not None or context.hosts is not None:
        return None
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    data = b"\n%b\n" % data.strip(b"\n")
    octets = np.frombuffer(data, np.uint8)
    ends = newlines(octets)[1:]
    if not check_lines(data, octets, ends) or _has_own_keys(data, octets):
        return None
    nothing, *pieces = _LINE.split(data[:-1])
    if nothing or len(pieces) != 3 * len(ends):
        return None
    try:
        heads = {text: _remembered(text, known) for text in dict.fromkeys(pieces[0::3])}
    except ValueError:
        return None
    return _parts(_bodies(pieces, heads), len(ends), context)


def _remembered(text: bytes, known: dict[bytes, _Head]) -> _Head:
    head = known.get(text)
    if head is None:
        if len(known) >= _REMEMBERED:
            known.clear()
        head = known[text] = _read_head(text)
    return head


def _bodies(pieces: list[bytes], heads: dict[bytes, _Head]) -> dict[str, tuple[int, bytes]]:
    """suffix -> (number of events, their body).

    Args:
        pieces: shape (3 * n_lines,): what stands before the stamp, the stamp, what follows its `,{`.
    """
    texts, stamps, rests = pieces[0::3], pieces[1::3], pieces[2::3]
    front_of = {text: head.front for text, head in heads.items()}
    fronts = list(map(front_of.__getitem__, texts))
    if len({head.suffix for head in heads.values()}) == 1:
        return {heads[texts[0]].suffix: (len(stamps), _body(stamps, fronts, rests))}
    groups: dict[str, list[int]] = {head.suffix: [] for head in heads.values()}
    add_of = {text: groups[head.suffix].append for text, head in heads.items()}
    for number, text in enumerate(texts):
        add_of[text](number)
    return {
        suffix: (len(group), _body(*([column[number] for number in group] for column in (stamps, fronts, rests))))
        for suffix, group in groups.items()
    }


def _body(stamps: list[bytes], fronts: list[bytes], rests: list[bytes]) -> bytes:
    """The canonical body, joined at once."""
    pieces = [b'\n{"@timestamp":'] * (4 * len(stamps) + 1)
    pieces[0], pieces[-1] = b'{"@timestamp":', b"\n"
    pieces[1::4], pieces[2::4], pieces[3::4] = stamps, fronts, rests
    return b"".join(pieces)


def _has_own_keys(data: bytes, octets: np.ndarray[Any, Any]) -> bool:
    """Whether payloads may bring an `@timestamp` or `_area`.

    The pair `_a` is looked for first, at even and at odd places, for that is cheaper than a search for the whole.
    """
    if b"@" in data and b'"@timestamp"' in data:
        return True
    aligned = (octets[: len(octets) // 2 * 2].view("<u2"), np.frombuffer(data[1:], "<u2", (len(data) - 1) // 2))
    return any((pairs == 0x615F).any() for pairs in aligned) and b'"_area"' in data


def _parts(bodies: dict[str, tuple[int, bytes]], count: int, context: DecodeContext) -> list[Part] | None:
    """One part a suffix, all decoded together; None if anything is wrong or to be corrected."""
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


def _suffix(category: bytes) -> str | None:
    """The ident part that `:category` means; None if it cannot be one."""
    if not category:
        return ""
    name = category[1:].decode(errors="replace")
    return name if category[:1] == b":" and "." not in name and is_ident(name) else None


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
    suffix = _suffix(category)
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

"""Codec `json`: objects one a line, in arrays (one, or one a line), pretty-printed, or with nothing between them.

What comes canonical is recognised by a few operations over the whole of it and passed on untouched. Otherwise the
cheapest repair that helps is taken: splice the time in, clean the lines, take the data as a stream of values or as
an array, and at last look for the bad lines. Everything ends in the same check, so nothing passes that is not
canonical.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from dpiped.codecs.base import BOM, Codec, DecodeContext, Decoded, Part, Rejected
from dpiped.codecs.config import JsonCodecConfig
from dpiped.codecs.lines import (
    UNEXPLAINED,
    DecodeFailure,
    check_body,
    compact,
    cut_lines,
    find_good,
    raw_values,
    splice,
    split_array,
    to_lines,
    why_bad,
)
from dpiped.codecs.settle import TIME_KEY, bounds, settle, with_hosts
from dpiped.pack import BODY

_BLANKS = b" \t\r\n"
_MSGPACK_STARTS = frozenset((*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF))
"""First bytes of a msgpack map or array, none of which begins UTF-8."""


@dataclass(slots=True)
class _Found:
    """Objects on lines of their own, with the numbers of the lines they came from."""

    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


class JsonCodec(Codec):
    """Stateless."""

    weighty = (b"\n", b"{", b"[")
    light_weight = 15_000

    def decode_quickly(self, data: bytes, context: DecodeContext) -> Decoded | None:
        return _quick(data, context) if context.time is None and data[:1] == b"{" else None

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        whole, data = data, data.removeprefix(BOM)
        if not data or data.isspace():
            return Decoded()
        if data[0] in _MSGPACK_STARTS:
            reason = "looks like msgpack, not JSON: set the sender's format to json (Fluent Bit: `format json_lines`)"
            return Decoded(rejected=[Rejected(1, reason, data)])
        if context.time is None:
            quick = _quick(data, context)
            if quick is not None:
                quick.form = quick.form if data is whole else None
                return quick
        return _careful(data, context)

    def encode(self, body: bytes) -> bytes:
        return body

    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        """Cuts between objects on lines of their own; an array or a stream without line ends is put on lines
        first.
        """
        if len(data) <= most_bytes:
            return [data]
        start = data.removeprefix(BOM).lstrip(_BLANKS)[:1]
        if start != b"{":
            return _cut_values(data, most_bytes) if start == b"[" else cut_lines(data, most_bytes)
        separator = b"}\r\n{" if b"}\r\n{" in data[:most_bytes] else b"}\n{"
        pieces = cut_lines(data, most_bytes, separator)
        return pieces if len(pieces) > 1 else _cut_values(data, most_bytes)


def build(config: JsonCodecConfig) -> Codec:
    """The codec of this config; it has no options."""
    return JsonCodec()


def _quick(data: bytes, context: DecodeContext) -> Decoded | None:
    """The answer if the data is canonical, or would be with clean lines and the time in front; else None."""
    if context.hosts is None and data[:1] == b"{" and data[-2:] == b"}\n":
        answer = _canonical(data, context)
        if answer is not None:
            return answer
    lines = [line.strip(_BLANKS) for line in data.split(b"\n")]
    hosts = context.hosts
    if b"" in lines:
        if hosts is not None:
            hosts = [host for host, line in zip(hosts, lines, strict=False) if line]
        lines = [line for line in lines if line]
    if (hosts is not None and len(hosts) != len(lines)) or any(line[:1] != b"{" for line in lines):
        return None
    untimed = TIME_KEY not in lines[0] and TIME_KEY not in b"\n".join(lines)
    try:
        body = _spliced(lines, context.accepted_ms if untimed else None, hosts)
    except DecodeFailure:
        return None
    answer = _canonical(body, context)
    if answer is None:
        return None
    answer.form = None
    if untimed:
        if any(part.min_ts != part.max_ts for part in answer.parts):
            return None  # some event has a time after all: its key is written with escapes
        answer.counts["time_missing"] = len(lines)
    return answer


def _spliced(lines: list[bytes], ms: int | None, hosts: Sequence[str] | None) -> bytes:
    if ms is not None:
        member = b'"@timestamp":%d' % ms
        front = b"{%b," % member
        lines = [splice(line, member) if line == b"{}" else front + line[1:] for line in lines]
    if hosts is not None:
        lines = with_hosts(lines, hosts)
    return b"\n".join(lines) + b"\n"


def _canonical(body: bytes, context: DecodeContext) -> Decoded | None:
    events = check_body(body, context.projection)
    if events is None:
        return None
    limits = bounds(context.projection.times(events))
    if limits is None:
        return None
    return Decoded([Part("", body, len(events), *limits, events)], form=BODY)


def _careful(data: bytes, context: DecodeContext) -> Decoded:
    found = _find(data, context)
    answer = Decoded(rejected=found.rejected)
    if found.lines:
        hosts = None if context.hosts is None else _hosts_of(found.numbers, context.hosts)
        answer.parts.append(settle(found.lines, context, answer.counts, hosts))
    return answer


def _hosts_of(numbers: Sequence[int], hosts: Sequence[str]) -> list[str] | None:
    if not hosts:
        return None
    return [hosts[min(number, len(hosts)) - 1] for number in numbers]


def _find(data: bytes, context: DecodeContext) -> _Found:
    if data.lstrip(_BLANKS)[:1] == b"[" and data.rstrip(_BLANKS)[-1:] == b"]" and context.hosts is None:
        elements = _array(data)
        if elements is not None:
            return _sort_out([(number, each) for number, each in enumerate(elements, 1)], context)
    elif context.hosts is None:
        values = _stream(data)
        if values is not None and all(value[:1] == b"{" for value in values):
            found = _sort_out([(1, value) for value in values], context)
            if not found.rejected:
                return found
    pairs = _grouped(data)
    if any(line[:1] == b"[" for _, line in pairs):
        pairs = [(number, each) for number, line in pairs for each in _unwrapped(line, context)]
    return _sort_out(pairs, context)


def _unwrapped(line: bytes, context: DecodeContext) -> list[bytes]:
    """The elements of the arrays of a line that begins with one; any other line as it is, and one with a bad element:
    it is rejected as a whole, since it is by their lines that rejected ones are known apart.
    """
    if line[:1] != b"[":
        return [line]
    try:
        found: list[bytes] = []
        for value in raw_values.decode_lines(line):
            is_array = bytes(value)[:1] == b"["
            each = msgspec.json.decode(value, type=list[msgspec.Raw]) if is_array else [value]
            found += [compact(bytes(element)) for element in each]
    except DecodeFailure:
        return [line]
    return [line] if find_good(found, context.projection)[1] else found


def _array(data: bytes) -> list[bytes] | None:
    """The elements if the data is one array, each on one line where it is JSON; bad ones as they are."""
    try:
        values = raw_values.decode_lines(data)
        if len(values) == 1:
            return [compact(bytes(value)) for value in msgspec.json.decode(data, type=list[msgspec.Raw])]
        return None
    except DecodeFailure:
        first_line = data.lstrip(_BLANKS).partition(b"\n")[0].strip(_BLANKS)
        if first_line[-1:] == b"]" and b"\n" in data.strip(_BLANKS):
            return None  # several lines, each an array: counted line by line
        return split_array(data)


def _stream(data: bytes) -> list[bytes] | None:
    """The values, each on one line, if the data is nothing but JSON values; None otherwise."""
    try:
        return [compact(bytes(value)) for value in raw_values.decode_lines(data)]
    except DecodeFailure:
        return None


def _grouped(data: bytes) -> list[tuple[int, bytes]]:
    """(number, line), where a pretty-printed object counts as one line if it opens and closes at the left margin."""
    lines = to_lines(data)
    grouped: list[tuple[int, bytes]] = []
    if b"\n}" not in data or b"}" not in [line.rstrip(b", \t") for line in lines]:
        return [(number, bare) for number, line in enumerate(lines, 1) if (bare := line.strip(_BLANKS))]
    start = -1
    for index, line in enumerate(lines):
        if start < 0 and line.rstrip() == b"{":
            start = index
        if start < 0:
            grouped.append((index + 1, line.strip(_BLANKS)))
        elif line.rstrip(b", \t") == b"}":
            grouped.append((start + 1, b"\n".join(lines[start:index]) + b"\n}"))
            start = -1
    if start >= 0:
        grouped += [(index + 1, lines[index].strip(_BLANKS)) for index in range(start, len(lines))]
    return [(number, line) for number, line in grouped if line]


def _sort_out(pairs: list[tuple[int, bytes]], context: DecodeContext) -> _Found:
    """Checks all together; what is not right by itself is looked at one by one."""
    found = _Found()
    _, bad = find_good([line for _, line in pairs], context.projection)
    if not bad:
        found.numbers, found.lines = [number for number, _ in pairs], [line for _, line in pairs]
        return found
    reasons = [""] * len(pairs)
    for index, reason in bad:
        reasons[index] = reason
    for (number, line), reason in zip(pairs, reasons, strict=True):
        if not reason:
            found.lines.append(line)
            found.numbers.append(number)
        elif reason is UNEXPLAINED:
            found.rejected.append(Rejected(number, reason, line))
        elif why := why_bad(line):
            found.rejected.append(Rejected(number, why, line))
        else:
            _take_apart(found, number, line, context)
    return found


def _take_apart(found: _Found, number: int, line: bytes, context: DecodeContext) -> None:
    """Objects that are good JSON, but several or not on one line."""
    pieces = [compact(bytes(value)) for value in raw_values.decode_lines(line)]
    good, bad = find_good(pieces, context.projection)
    found.lines += [pieces[index] for index in good]
    found.numbers += [number] * len(good)
    found.rejected += [Rejected(number, reason, pieces[index]) for index, reason in bad]


def _cut_values(data: bytes, most_bytes: int) -> list[bytes]:
    """The values of an array or a stream, put on lines; the data as it is if that cannot be done."""
    try:
        values = raw_values.decode_lines(data.removeprefix(BOM))
        if len(values) == 1:
            values = msgspec.json.decode(values[0], type=list[msgspec.Raw])
        lines = [compact(bytes(value)) for value in values]
    except DecodeFailure:
        return [data]
    return cut_lines(b"\n".join(lines) + b"\n", most_bytes)

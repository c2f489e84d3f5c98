"""Work on whole bodies: is this canonical, where are its bad lines, split, join, splice.

A body is structurally right when it is valid UTF-8, every line is exactly one JSON object and none is nested deeper
than MAX_DEPTH. `check_body` tells that for a whole body at once, `find_good` finds the lines that spoil it by
halving.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import ne
from typing import Any

import msgspec
import numpy as np

from dpiped.codecs.base import BOM
from dpiped.projection import Projection

MAX_DEPTH = 100
"""Objects and arrays inside each other; the decoder's own limit depends on how deep its caller stands, so ours is
lower.
"""
NEWLINE, OPEN, CLOSE, ARRAY, COMMA = 0x0A, 0x7B, 0x7D, 0x5B, 0x2C
OBJECT_BYTES, ARRAY_BYTES = 5, 2
"""What a level of nesting takes at least: `{"":}` and `[]`. Most lines are too short to be nested too deep."""
_SMALL = 8192
"""Bytes of a body up to which plain searches are faster."""
_UTF8_BLOCK = 4096
"""Bytes looked at for non-ASCII at once: most blocks have none, and only the others are decoded."""
_DEPTH_BLOCK = 1024
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]|,', re.DOTALL)
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|[^u])|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})", re.DOTALL
)
"""A pair of surrogates or a short escape; group 1: a surrogate alone."""
DecodeFailure = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What a decoder of msgspec raises over bad input."""
strict_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Key -> the very bytes of its value, so that numbers keep their digits."""
raw_values = msgspec.json.Decoder(msgspec.Raw)
MOST_EXPLAINED = 1_000
"""Of so many bad lines of a piece it is found out what is wrong with each; a MiB can hold half a million."""
UNEXPLAINED = f"no JSON object, as are {MOST_EXPLAINED:,} or more before it in the same piece"
SEVERAL = "more than one JSON object"
_BLOCK_LINES = 64
"""Lines that are tried together once there are so many bad ones that halving costs more than it saves."""


def is_utf8(data: bytes) -> bool:
    """Whether all of it is valid UTF-8. Blocks without non-ASCII bytes, which are most, are not decoded."""
    if data.isascii():
        return True
    octets, size = np.frombuffer(data, np.int8), len(data)
    whole = size // _UTF8_BLOCK
    lowest = octets[: whole * _UTF8_BLOCK].reshape(whole, _UTF8_BLOCK).min(axis=1)
    for start in (*(np.flatnonzero(lowest < 0) * _UTF8_BLOCK).tolist(), whole * _UTF8_BLOCK):
        # widened to whole lines, since a newline is no part of a longer character
        first = data.rfind(b"\n", 0, start) + 1
        last = data.find(b"\n", start + _UTF8_BLOCK) + 1 or size
        try:
            data[first:last].decode()
        except UnicodeDecodeError:
            return False
    return True


def check_body(body: bytes, projection: Projection) -> list[Any] | None:
    """The events of a structurally right body; None if anything is wrong with it.

    A newline that stands between `}` and `{` is never inside a value: there a comma or a closing bracket would follow.
    So when all do, and there are as many objects as lines, each line is one object.
    """
    if body[:1] != b"{" or body[-2:] != b"}\n":
        return None
    if len(body) < _SMALL:
        return _check_small(body, projection)
    octets = np.frombuffer(body, np.uint8)
    ends = newlines(octets)
    if (octets[1:].take(ends[:-1]) != OPEN).any() or not check_lines(body, octets, ends):
        return None
    return decode_all(body, len(ends), projection)


def _check_small(body: bytes, projection: Projection) -> list[Any] | None:
    """The same for a few events: searches cost less here than calls of numpy."""
    lines = body.count(b"\n")
    if body.count(b"}\n{") != lines - 1:
        return None
    if not body.isascii() and not is_utf8(body):
        return None
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and any(
        depth_of(line) > MAX_DEPTH for line in body.split(b"\n")
    ):
        return None
    return decode_all(body, lines, projection)


def check_lines(data: bytes, octets: Any, ends: Any) -> bool:
    """Whether all lines are UTF-8, end with `}` and are not too deep; `octets` and `ends` belong to `data`."""
    if (octets.take(ends - 1) != CLOSE).any() or not is_utf8(data):
        return False
    return not _may_be_deep(data, octets, ends) or all(depth_of(line) <= MAX_DEPTH for line in data.split(b"\n"))


def decode_all(body: bytes, count: int, projection: Projection) -> list[Any] | None:
    """The events; None if the body is malformed or holds another number of objects."""
    try:
        events = projection.decode_strictly(body)
    except DecodeFailure:
        return None
    return events if len(events) == count else None


def newlines_of(body: bytes) -> Any:
    """Places of all newlines of a body."""
    return newlines(np.frombuffer(body, np.uint8))


def newlines(octets: Any) -> Any:
    """Places of all newlines, ascending. Looks at words of 8 octets first, since most have none."""
    hits = octets == NEWLINE
    whole = len(hits) & ~7
    words = hits[:whole].view(np.uint64)
    some = (words != 0).nonzero()[0]
    found = words.take(some).view(np.bool_).nonzero()[0]
    places = (some.take(found >> 3) << 3) + (found & 7)
    return np.concatenate((places, hits[whole:].nonzero()[0] + whole))


def has_key(data: bytes, name: bytes) -> bool:
    """Whether a name of two or more bytes stands in quotes anywhere, as a key of an event does that has no escapes.

    Its first two bytes are looked for before it, at even and at odd places: 43 ns an event, 165 for the whole of it
    (measured).
    """
    if len(data) >= _SMALL:
        pair, size = int.from_bytes(name[:2], "little"), len(data)
        even, odd = np.frombuffer(data, "<u2", size // 2), np.frombuffer(data, "<u2", (size - 1) // 2, 1)
        if not (even == pair).any() and not (odd == pair).any():
            return False
    return b'"%b"' % name in data


def _may_be_deep(data: bytes, octets: Any, ends: Any) -> bool:
    """False if all lines are too short to be nested deeper than MAX_DEPTH, or none has that many opening brackets,
    counted in blocks, brackets in texts included.
    """
    longest = max(int((ends[1:] - ends[:-1]).max(initial=0)), int(ends[0]) + 1)
    arrays = int(np.count_nonzero(octets == ARRAY)) if b"[" in data else 0
    if longest < OBJECT_BYTES * MAX_DEPTH - (OBJECT_BYTES - ARRAY_BYTES) * min(arrays, MAX_DEPTH):
        return False
    opening = (octets & 0xDF) == 0x5B  # both [ and {
    rest = len(opening) % _DEPTH_BLOCK
    whole = opening[: len(opening) - rest].view(np.uint64).reshape(-1, _DEPTH_BLOCK // 8)
    lanes = whole.sum(axis=1)  # eight counters of at most 128 in each sum, none runs over
    counts = lanes.view(np.uint8).reshape(-1, 8).sum(axis=1, dtype=np.int64)
    counts = np.append(counts, np.count_nonzero(opening[len(opening) - rest :]))
    window = min(longest // _DEPTH_BLOCK + 2, len(counts))  # no line touches more blocks
    if int(counts.max()) * window <= MAX_DEPTH:
        return False
    return bool(np.convolve(counts, np.ones(window, np.int64)).max() > MAX_DEPTH)


def depth_of(line: bytes) -> int:
    """How deep the values of a line are nested, as far as its brackets tell; once it is too deep, nobody looks
    further.
    """
    if line.count(b"{") + line.count(b"[") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for token in _TOKENS.finditer(line):
        kind = token[0]
        if kind in b"{[":
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > MAX_DEPTH:
                    break
        elif kind in b"}]":
            depth -= 1
    return deepest


def split_array(data: bytes) -> list[bytes]:
    """The elements of a JSON array, good or bad, as its brackets, texts and commas tell."""
    elements, depth, start = [], 0, 0
    for token in _TOKENS.finditer(data):
        kind = token[0]
        if kind in b"[{":
            depth += 1
            if depth == 1:
                start = token.end()
        elif kind in b"]}" or (kind == b"," and depth == 1):
            depth -= kind != b","
            if depth == 0 or kind == b",":
                elements.append(data[start : token.start()].strip())
                start = token.end()
            if depth == 0:
                break
    return elements if elements != [b""] else []


def why_bad(line: bytes) -> str:
    """Why a line is no JSON object; empty if it is one, or several."""
    try:
        line.decode()
        if depth_of(line) > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
        values = raw_values.decode_lines(line)
    except UnicodeDecodeError:
        return "invalid UTF-8"
    except RecursionError:
        return f"nested deeper than {MAX_DEPTH} levels"
    except msgspec.DecodeError as exc:
        return _lone_surrogate(line) or str(exc)
    if all(bytes(value)[:1] == b"{" for value in values):
        return ""
    return "not a JSON object"


def _lone_surrogate(line: bytes) -> str:
    """Names half a character, of which the decoder only says that something is missing; empty if there is none."""
    half = next((each[1] for each in _ESCAPES.finditer(line) if each[1]), None)
    return "" if half is None else f"a lone surrogate {half.decode()} is no character"


def find_good(lines: Sequence[bytes], projection: Projection) -> tuple[list[int], list[tuple[int, str]]]:
    """(indexes of the lines that are one object each, (index, reason) of the others); both in order.

    Halves whatever is not right as a whole, so one bad line of thousands costs a few decodes. After MOST_EXPLAINED bad
    ones each line is decoded twice at most, and the bad ones are UNEXPLAINED, or SEVERAL if there are good objects in
    one that is not one line. An object with a value that cannot be read, such as 1e400, is good: to whoever wants that
    value it is absent (Projection.decode).
    """
    good: list[int] = []
    bad: list[tuple[int, str]] = []
    todo = [(0, len(lines))] if lines else []
    while todo:
        start, end = todo.pop()
        if len(bad) >= MOST_EXPLAINED:
            _find_quickly(lines, start, projection, good, bad)
            break
        if check_body(b"\n".join(lines[start:end]) + b"\n", projection) is not None:
            good += range(start, end)
        elif end - start > 1:
            middle = (start + end) // 2
            todo += [(middle, end), (start, middle)]
        elif reason := why_bad(lines[start]) or _why_unread(lines[start], projection):
            bad.append((start, reason))
        else:
            good.append(start)
    return good, bad


def _find_quickly(
    lines: Sequence[bytes], first: int, projection: Projection, good: list[int], bad: list[tuple[int, str]]
) -> None:
    """Adds the lines from `first` on to `good` and `bad`."""
    for start in range(first, len(lines), _BLOCK_LINES):
        block = lines[start : start + _BLOCK_LINES]
        if check_body(b"\n".join(block) + b"\n", projection) is not None:
            good += range(start, start + len(block))
            continue
        for index, line in enumerate(block, start):
            reason = _what_is_it(line, projection) if line[:1] == b"{" and line[-1:] == b"}" else UNEXPLAINED
            if reason:
                bad.append((index, reason))
            else:
                good.append(index)


def _what_is_it(line: bytes, projection: Projection) -> str:
    """Empty if the line is one object, SEVERAL or UNEXPLAINED."""
    try:
        count = len(projection.decode_strictly(line))
    except DecodeFailure:
        if why_bad(line):
            return UNEXPLAINED
        count = len(raw_values.decode_lines(line))
    if not is_utf8(line) or depth_of(line) > MAX_DEPTH:
        return UNEXPLAINED
    return "" if count == 1 and b"\n" not in line else SEVERAL


def _why_unread(line: bytes, projection: Projection) -> str:
    """Why good JSON is not one object on one line; empty if it is, and only a value cannot be read."""
    try:
        count = len(projection.decode_strictly(line))
    except DecodeFailure:
        count = len(raw_values.decode_lines(line))
        if count == 1 and b"\n" not in line:
            return ""
    return SEVERAL if count > 1 else "not a JSON object"


def compact(value: bytes) -> bytes:
    """A JSON value on one line, all tokens unchanged."""
    return msgspec.json.format(value, indent=-1) if b"\n" in value or b"\r" in value else value


def to_lines(data: bytes) -> list[bytes]:
    """The lines of some data, one CR before each line end cut; shape (n_lines,), empty lines kept."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if b"\r" in data:
        return [line[:-1] if line[-1:] == b"\r" else line for line in lines]
    return lines


def cut_lines(data: bytes, most_bytes: int, separator: bytes = b"\n") -> list[bytes]:
    """Pieces of at most `most_bytes` that end after a newline; a longer line is a piece of its own.

    `separator` has to start at a newline or end with one; the cut is behind its newline.
    """
    newline = separator.index(b"\n") + 1
    pieces, start = [], 0
    while len(data) - start > most_bytes:
        at = data.rfind(separator, start, start + max(most_bytes, 1))
        if at < 0:
            at = data.find(separator, start)
        if at < 0:
            break
        pieces.append(data[start : at + newline])
        start = at + newline
    return [*pieces, data[start:]] if start < len(data) or not pieces else pieces


def quote_all(texts: list[str]) -> list[bytes]:
    """The texts as JSON strings without their quotes, shape of `texts`.

    One call for all: a quote inside a string is escaped, so `","` only stands between two.
    """
    return msgspec.json.encode(texts)[2:-2].split(b'","') if texts else []


def splice(line: bytes, member: bytes) -> bytes:
    """An object with `"key":value` put in front."""
    return b"{%b}" % member if line[1:].strip() == b"}" else b"{%b,%b" % (member, line[1:])


def read_text(data: bytes) -> tuple[str, int]:
    """(text, how many of its lines were not valid UTF-8): what cannot be read becomes U+FFFD. A byte order mark in
    front is cut.
    """
    data = data.removeprefix(BOM)
    try:
        return data.decode(), 0
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
        return text, sum(map(ne, text.encode().split(b"\n"), data.split(b"\n")))

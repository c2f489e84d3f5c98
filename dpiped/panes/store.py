"""State of a filter with windows, by key. Numbers in keys are big-endian, times plus 2**63, so that keys sort by them.

    c                       clock: [watermark: [at, newest, idle ticks], end of the last closed window,
                                    time of the last early results, last offset that they told, last offset]
    p START(8)              a pane: [end, [projects]]
    g START(8) NUMBER(4)    a group of it: [[values of its fields], [dumps of each metric], last offset or nil]
    k END(8) PART(4)        answers of a closed window that are kept: [start, lines of JSON]

Values are msgpack. What dumps of metrics are is drawn in `dpiped/aggregates`. The fingerprint names `shape.VERSION`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from dpiped.aggregates.plain import storable, stored
from dpiped.panes.pane import Pane
from dpiped.panes.shape import Shape

CLOCK = b"c"
_TIME = struct.Struct(">cQ")
_PART = struct.Struct(">cQI")
_ZERO = 1 << 63
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Change = tuple[bytes, bytes | None]


class Clock(NamedTuple):
    """What a filter knows of time beside its panes."""

    watermark: tuple[int, int, int]
    closed: int
    early_ms: int
    early_offset: int
    offset: int


def dump_clock(clock: Clock) -> bytes:
    return _encode(clock)


def load_clock(value: bytes) -> Clock:
    return Clock(*msgspec.msgpack.decode(value, type=tuple[tuple[int, int, int], int, int, int, int]))


def pane_changes(pane: Pane, shape: Shape) -> Iterator[Change]:
    """What changed in a pane since the last call. A group is settled when it is given."""
    if pane.changed:
        if pane.stored < 0:
            pane.stored = 0
        yield _TIME.pack(b"p", pane.start + _ZERO), _encode((pane.end, sorted(pane.projects)))
    for number, key in pane.numbered_changes():
        value = ([storable(value) for value in shape.values(key)], shape.dumps(pane.of(key)), pane.touched.get(key))
        yield _PART.pack(b"g", pane.start + _ZERO, number), _encode(value)


def pane_keys(pane: Pane) -> Iterator[bytes]:
    """All keys under which something of the pane may be stored."""
    if pane.stored >= 0:
        yield _TIME.pack(b"p", pane.start + _ZERO)
    for number in range(pane.stored):
        yield _PART.pack(b"g", pane.start + _ZERO, number)


def load_panes(items: Sequence[tuple[bytes, bytes]], shape: Shape) -> dict[int, Pane]:
    """Start -> pane, of all items of a snapshot; groups in the order in which they came."""
    panes: dict[int, Pane] = {}
    for key, value in items:
        if key[:1] == b"p":
            start = _TIME.unpack(key)[1] - _ZERO
            end, projects = _decode(value)
            panes[start] = Pane(shape, start, end)
            panes[start].projects.update(projects)
            panes[start].stored = 0
    for key, value in sorted(item for item in items if item[0][:1] == b"g"):
        pane = panes[_PART.unpack(key)[1] - _ZERO]
        values, dumped, touched = _decode(value)
        pane.put(shape.key([stored(value) for value in values]), shape.loads(dumped), touched)
        pane.stored += 1
    return panes


def answer_key(end: int, part: int) -> bytes:
    """Of one part of the answers of a closed window."""
    return _PART.pack(b"k", end + _ZERO, part)


def dump_answers(start: int, lines: bytes) -> bytes:
    return _encode((start, lines))


def load_answers(items: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[int, int, bytes]]:
    """(start, end, lines) of each part, in order."""
    for key, value in sorted(item for item in items if item[0][:1] == b"k"):
        start, lines = _decode(value)
        yield start, _PART.unpack(key)[1] - _ZERO, lines

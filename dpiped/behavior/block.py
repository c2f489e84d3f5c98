"""Blocks: rows as they are stored, and the keys under which they stand.

    key                                              value
    f EPOCH 00 OFFSET(8)                             fresh: the rows of one pack, in its order
    s BUCKET(1) DAY(4) NUMBER(8) ROWS(4)             settled: rows of the users of one bucket and of one day (UTC),
                                                     ordered by user, time, epoch, offset and line
    m                                                what the table is, see table.py

Numbers in keys are big-endian, so that keys sort as they do; 2^31 is added to the day, which may lie before 1970. Among
blocks of a bucket and day the one with the higher number was stored later.

A value is zstd of one msgpack array:

    [version, users, times, actions, epochs, places, dims]
    users      packed uids, or [texts, packed]           packed: see columns.py
    actions    [texts, packed]: each text once, the rows name it by number
    epochs     the same
    places     packed, offset << 20 | line
    dims       {name: [texts or nil, packed]}

Texts are numbered in each block by itself: nothing has to be looked up or kept elsewhere, and what is dropped is gone.
About 9 bytes a row (measured: 200,000 users, 4 actions, one dimension).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec
import numpy as np
import zstandard

from dpiped.behavior.columns import Coded, Packed, pack, unpack
from dpiped.behavior.rows import Rows
from dpiped.errors import DpipeError

VERSION = 1
FRESH, SETTLED = b"f", b"s"
AFTER_FRESH = b"g"
_SETTLED = struct.Struct(">BIQI")
_DAY_BIAS = 1 << 31
MAX_VALUE_BYTES = 1 << 30
Texts = tuple[list[str], Packed]


class _Ints(msgspec.Struct, array_like=True, gc=False):
    """Where uids are numbers."""

    version: int
    users: Packed
    times: Packed
    actions: Texts
    epochs: Texts
    places: Packed
    dims: dict[str, tuple[list[str | None], Packed]]


class _Texts(msgspec.Struct, array_like=True, gc=False):
    """Where they are texts. msgspec allows no union of the two: both are arrays."""

    version: int
    users: Texts
    times: Packed
    actions: Texts
    epochs: Texts
    places: Packed
    dims: dict[str, tuple[list[str | None], Packed]]


class Place(NamedTuple):
    """Where a settled block stands."""

    bucket: int
    day: int
    number: int
    rows: int


def fresh_key(epoch: str, offset: int) -> bytes:
    """Of the rows of one pack."""
    return FRESH + epoch.encode() + b"\0" + offset.to_bytes(8, "big")


def settled_key(place: Place) -> bytes:
    """Of a block of one bucket and day."""
    return SETTLED + _SETTLED.pack(place.bucket, place.day + _DAY_BIAS, place.number, place.rows)


def place_of(key: bytes) -> Place:
    """What the key of a settled block says."""
    bucket, day, number, rows = _SETTLED.unpack_from(key, 1)
    return Place(bucket, day - _DAY_BIAS, number, rows)


def first_of(bucket: int, day: int | None = None) -> bytes:
    """All keys of the bucket from this day on are not below; without a day, all of the bucket."""
    prefix = SETTLED + bytes((bucket,))
    return prefix if day is None else prefix + max(0, min(day + _DAY_BIAS, (1 << 32) - 1)).to_bytes(4, "big")


def behind(bucket: int) -> bytes:
    """All keys of the bucket are below."""
    return SETTLED + bytes((bucket + 1,))


def encode(rows: Rows) -> bytes:
    """The value for these rows; the same rows give the same bytes."""
    stored = [
        VERSION,
        _pack_texts(rows.users) if isinstance(rows.users, Coded) else pack(rows.users),
        pack(rows.times),
        _pack_texts(rows.actions),
        _pack_texts(rows.epochs),
        pack(rows.places),
        {name: (column.values, pack(column.codes)) for name, column in rows.dims.items()},
    ]
    return zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(stored))


def _pack_texts(column: Coded[str]) -> Texts:
    return column.values, pack(column.codes)


def decode(value: bytes, *, texts: bool) -> Rows:
    """What `encode` was given; `texts`: whether uids are texts. Raises DpipeError for what a newer version wrote."""
    data = zstandard.ZstdDecompressor().decompress(value, max_output_size=MAX_VALUE_BYTES)
    version = data[1] if len(data) > 1 else 0  # behind the mark of the array
    if version != VERSION:
        raise DpipeError(f"rows of layout {version}, this dpiped knows {VERSION}: start the newer one")
    found = msgspec.msgpack.decode(data, type=_Texts) if texts else msgspec.msgpack.decode(data, type=_Ints)
    users = _unpack_texts(found.users) if isinstance(found, _Texts) else unpack(found.users)
    return Rows(
        users,
        unpack(found.times),
        _unpack_texts(found.actions),
        _unpack_texts(found.epochs),
        unpack(found.places),
        {name: Coded(values, unpack(codes)) for name, (values, codes) in found.dims.items()},
    )


def _unpack_texts(stored: Texts) -> Coded[str]:
    return Coded(stored[0], unpack(stored[1]))


def empty(*, texts: bool) -> Rows:
    """No rows."""
    none = np.zeros(0, np.int64)
    nobody: Coded[str] = Coded([], none)
    return Rows(nobody if texts else none, none, nobody, nobody, none, {})

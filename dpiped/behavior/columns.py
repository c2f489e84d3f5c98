"""Columns of whole numbers, and of texts by their number in a list: how rows are held in memory and packed for disk.

A packed column is [base, width, bytes]: each value less `base`, as an unsigned little-endian number of `width` bytes.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
T = TypeVar("T", bound=Hashable)
_WIDTHS: dict[int, np.dtype[Any]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}


class Packed(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A column as it is stored."""

    base: int
    width: int
    data: bytes


def pack(values: Ints) -> Packed:
    """Any int64 values, also none."""
    if not len(values):
        return Packed(0, 1, b"")
    base = int(values.min())
    span = int(values.max()) - base
    width = next(width for width in _WIDTHS if span < 1 << 8 * width)
    return Packed(base, width, (values - base).astype(_WIDTHS[width]).tobytes())


def unpack(packed: Packed) -> Ints:
    """What `pack` was given; a span of 64 bits wraps around there and back."""
    values: Ints = np.frombuffer(packed.data, _WIDTHS[packed.width]).astype(np.int64)
    values += packed.base
    return values


class Coded(NamedTuple, Generic[T]):
    """A column of few different values."""

    values: list[T]
    """Each once."""
    codes: Ints
    """Where in `values`, shape (n_rows,)."""

    def take(self, rows: Any) -> Coded[T]:
        """Only these rows, and only the values that they have."""
        codes = self.codes[rows]
        if len(self.values) == 1 and len(codes):
            return Coded(self.values, codes)
        used = np.flatnonzero(np.bincount(codes, minlength=len(self.values)))
        if len(used) == len(self.values):
            return Coded(self.values, codes)
        numbers = np.zeros(len(self.values), np.int64)
        numbers[used] = np.arange(len(used))
        return Coded([self.values[code] for code in used.tolist()], numbers[codes])


def numbering() -> defaultdict[Any, int]:
    """Gives each new key the next number."""
    known: defaultdict[Any, int] = defaultdict()
    known.default_factory = known.__len__
    return known


def coded(column: Iterable[T]) -> Coded[T]:
    """In the order in which the values come first."""
    known = numbering()
    codes = np.frombuffer(array("q", map(known.__getitem__, column)), np.int64)
    return Coded(list(known), codes)


def joined(columns: Sequence[Coded[T]]) -> Coded[T]:
    """One behind the other."""
    if len(columns) == 1:
        return columns[0]
    known = numbering()
    parts = [np.array([known[value] for value in one.values], np.int64)[one.codes] for one in columns]
    return Coded(list(known), np.concatenate(parts) if parts else np.zeros(0, np.int64))

"""Op `cardinality`: how many distinct values. Exact up to 1,000, then a HyperLogLog of Apache DataSketches.

The sketch is fed with the values in the order in which they first came; values that it knows do not change it. So it is
the same wherever an update ended. `error` is one sigma, and holds for merged sketches too (1.04 / sqrt(2**lg_k)).

Long texts come as they are held (`long_texts.py`). Versions that did not cut them fed them whole to their sketches: in
a window that both have seen, such a value may count twice.

Stored: [0, [values in order]] or [1, bytes of the sketch (HLL_8, updatable)].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import ceil, log2
from typing import Annotated, Any, Literal, Self

from datasketches import hll_sketch, hll_union, tgt_hll_type
from pydantic import Field

from dpiped.aggregates.base import Aggregate, Brief, Column, FieldMetric, present
from dpiped.aggregates.plain import Truth, storable, stored

EXACT = 1_000
"""Up to so many distinct values all of them are kept."""
MOST_BITS = 1_000
"""Longer whole numbers do not fit into a float, as which the sketch takes those of more than 64 bits."""
_KIND = tgt_hll_type.HLL_8


class Cardinality(Aggregate):
    """Distinct plain values; floats that are whole numbers must come as int (the column sees to it)."""

    __slots__ = ("_sigma", "_sketch", "_values")

    def __init__(self, sigma: float) -> None:
        self._sigma = sigma
        self._values: dict[Any, None] = {}
        self._sketch: Any = None

    def update(self, values: Sequence[Any]) -> None:
        if self._sketch is not None:
            _feed(self._sketch, present(values))
            return
        known = self._values
        known.update(dict.fromkeys(values))
        known.pop(None, None)
        if len(known) > EXACT:
            self._sketch = hll_sketch(lg_k(self._sigma), _KIND, True)
            _feed(self._sketch, known)
            self._values = {}

    def merge(self, other: Self) -> None:
        if other._sketch is None:
            self.update(list(other._values))
            return
        union = hll_union(lg_k(self._sigma))
        union.update(other._sketch)
        if self._sketch is not None:
            union.update(self._sketch)
        self._sketch = union.get_result(_KIND)
        _feed(self._sketch, self._values)
        self._values = {}

    def dumps(self) -> Any:
        if self._sketch is None:
            return 0, [storable(value) for value in self._values]
        return 1, self._sketch.serialize_updatable()

    def loads(self, data: Any) -> None:
        kind, found = data
        if kind:
            self._sketch = hll_sketch.deserialize(found)
        else:
            self._values = dict.fromkeys(map(stored, found))

    def result(self, secs: float = 1.0) -> Any:
        return len(self._values) if self._sketch is None else round(self._sketch.get_estimate())

    @property
    def error(self) -> float:
        return 0.0 if self._sketch is None else self._sigma


def lg_k(sigma: float) -> int:
    """The smallest sketch that keeps the error also when it is merged."""
    return min(21, max(7, ceil(2 * log2(1.04 / sigma))))


def _feed(sketch: Any, values: Iterable[Any]) -> None:
    try:
        deque(map(sketch.update, values), 0)
    except TypeError:  # what the sketch cannot take; what it got already does no harm a second time
        deque(map(sketch.update, map(_text, values)), 0)


def _text(value: Any) -> Any:
    """Booleans, and whole numbers that are beyond a float, as texts that no event has."""
    if type(value) is Truth:
        return f"\0{value.value}"
    return f"\0{value:x}" if type(value) is int and value.bit_length() > MOST_BITS else value


class CardinalityMetric(FieldMetric):
    """How many distinct values; exact up to 1,000."""

    op: Literal["cardinality"]
    error: Annotated[float, Field(ge=0.001, le=0.09)] = 0.01
    """Relative error, one sigma; half of it needs four times the memory (0.01: 16 KiB for a group)."""

    def column(self) -> Column | None:
        return Column("plain", self.field, self.where)

    def new(self) -> Aggregate:
        return Cardinality(self.error)

    def brief(self) -> Brief:
        of_many = super().brief()

        def brief(values: Sequence[Any], secs: float) -> tuple[Any, float]:
            if len(values) > EXACT:
                return of_many(values, secs)
            distinct = set(values)
            return len(distinct) - (None in distinct), 0.0

        return brief

    def shape(self) -> str:
        return f"{super().shape()}/{lg_k(self.error)}"

"""Reads what metrics want of a pack, column by column, each once. What cannot be used is skipped and counted.

A column has one entry for each event, shape (view.count,). None (in codes: SKIPPED) = nothing for this metric.

Reasons why a value is skipped:
    absent              the event has no such field, or null, or an object
    not_a_number        text, boolean or list where a number is wanted
    number_too_large    a whole number of more than 64 bits, or a size of 1e150 and more
    list                a list where a plain value is wanted
    empty               the empty text where distinct or top values are wanted
    negative            a weight below 0
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dpiped.aggregates.base import Column
from dpiped.aggregates.buckets import edge_codes, quantile_codes
from dpiped.aggregates.plain import hashable, whole
from dpiped.expressions import Predicate, compile_where
from dpiped.long_texts import held, held_with_lists

if TYPE_CHECKING:
    from dpiped.view import PackView

LARGEST = 1e150
"""Numbers are smaller: sums and squares of as many as one likes do not overflow."""
_SMALL = float(1 << 63)
_encode = msgspec.json.Encoder().encode
_NUMBERS = {int, float}
_NUMBERS_OR_NONE = {*_NUMBERS, type(None)}


class Columns:
    """Of one pack, for one filter; not kept behind it."""

    def __init__(self, view: PackView) -> None:
        self.view = view
        self.skipped: Counter[str] = Counter()
        self._masks: dict[str, list[bool]] = {}
        self._known: dict[Column, Any] = {}
        self._array: tuple[list[Any] | None, Any] = None, None

    def read(self, column: Column) -> list[Any]:
        """Any column that a metric names."""
        found: list[Any] = self._once(column, lambda: getattr(self, f"_{column.kind}")(column))
        return found

    def _once(self, column: Column, make: Callable[[], Any]) -> Any:
        if column not in self._known:
            self._known[column] = make()
        return self._known[column]

    def mask(self, where: str) -> list[bool]:
        """For which events a condition holds."""
        if where not in self._masks:
            self._masks[where] = _predicate(where).mask(self.view)
        return self._masks[where]

    def _flags(self, column: Column) -> list[bool]:
        return self.mask(column.where or "true")

    def _chosen(self, column: Column, field: str, clean: Callable[[list[Any], set[type]], list[Any]]) -> list[Any]:
        """A cleaned column of the events that `where` wants; the others neither count nor are complained about."""
        values, kinds = self.view.typed(field)
        if column.where is None:
            return clean(values, kinds)
        mask = self.mask(column.where)
        chosen = iter(clean(list(compress(values, mask)), kinds))
        return [next(chosen) if wanted else None for wanted in mask]

    def _numbers(self, column: Column) -> list[Any]:
        return self._chosen(column, column.field, self._clean_numbers)

    def _floats(self, column: Column) -> Any:
        """The numbers as an array; NaN where there is none."""
        column = column._replace(kind="numbers", more=None)
        return self._once(column._replace(kind="floats"), lambda: self._as_array(self.read(column)))

    def _as_array(self, values: list[Any]) -> Any:
        """Each list becomes an array once. Raises OverflowError if a number has no place in one."""
        if self._array[0] is not values:
            self._array = values, np.array(values, dtype=float)
        return self._array[1]

    def _quantile_codes(self, column: Column) -> list[int]:
        codes: list[int] = quantile_codes(self._floats(column)).tolist()
        return codes

    def _edge_codes(self, column: Column) -> list[int]:
        codes: list[int] = edge_codes(self._floats(column), column.more).tolist()
        return codes

    def _plain(self, column: Column) -> list[Any]:
        return self._chosen(column, column.field, self._clean_plain)

    def _stamped(self, column: Column) -> list[Any]:
        """Pairs (time, value as JSON)."""
        values = self._chosen(column, column.field, self._clean_absent)
        if self.view.pack.has_long_texts:
            values = list(map(held_with_lists, values))
        pairs = zip(self.view.column("@timestamp"), values, strict=True)
        return [None if value is None else (at, _encode(value)) for at, value in pairs]

    def _weighted(self, column: Column) -> list[Any]:
        """Pairs (value, weight)."""
        values = self.read(Column("plain", column.field, column.where))
        weights = self.read(Column("numbers", column.more, column.where))
        negative = sum(weight is not None and weight < 0 for weight in weights)
        self._skip("negative", negative)
        return [
            None if value is None or weight is None or weight < 0 else (value, weight)
            for value, weight in zip(values, weights, strict=True)
        ]

    def _skip(self, reason: str, amount: int) -> None:
        if amount:
            self.skipped[reason] += amount

    def _clean_absent(self, values: list[Any], kinds: set[type]) -> list[Any]:
        self._skip("absent", values.count(None))
        return values

    def _clean_numbers(self, values: list[Any], kinds: set[type]) -> list[Any]:
        if type(None) in kinds:
            self._skip("absent", values.count(None))
        if not kinds <= _NUMBERS_OR_NONE:
            good = [value if type(value) in _NUMBERS else None for value in values]
            self._skip("not_a_number", good.count(None) - values.count(None))
            values = good
        if self._all_small(values):
            return values
        good = [value if value is None or _is_usable(value) else None for value in values]
        self._skip("number_too_large", good.count(None) - values.count(None))
        return good

    def _all_small(self, values: list[Any]) -> bool:
        """Whether no number needs a look of its own; None is none."""
        try:
            return not bool((np.abs(self._as_array(values)) >= _SMALL).any())
        except OverflowError:
            return False

    def _clean_plain(self, values: list[Any], kinds: set[type]) -> list[Any]:
        if type(None) in kinds:
            self._skip("absent", values.count(None))
        if list in kinds:
            self._skip("list", sum(type(value) is list for value in values))
        values = whole(hashable(values, kinds), kinds)
        if str in kinds and "" in values:
            self._skip("empty", values.count(""))
            values = [None if value == "" else value for value in values]
        return list(map(held, values)) if str in kinds and self.view.pack.has_long_texts else values


def _is_usable(value: int | float) -> bool:
    return abs(value) < LARGEST if type(value) is float else -_SMALL <= value < _SMALL


@lru_cache(maxsize=1024)
def _predicate(where: str) -> Predicate:
    return compile_where(where)


def fields_of(columns: Iterable[Column]) -> set[str]:
    """The fields of events that these columns read."""
    fields: set[str] = set()
    for column in columns:
        fields |= {column.field} - {""}
        fields |= set(_predicate(column.where).fields) if column.where else set()
        fields |= {column.more} if column.kind == "weighted" else set()
    return fields

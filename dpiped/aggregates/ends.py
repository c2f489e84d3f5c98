"""Ops `min`, `max`, `first` and `last`. Exact.

Stored: min, max: the number or nil; first, last: [time, value as JSON] or nil.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import msgspec

from dpiped.aggregates.base import Aggregate, Column, FieldMetric, present
from dpiped.aggregates.plain import storable, stored


class Smallest(Aggregate):
    """Keeps the smallest value."""

    __slots__ = ("value",)
    _choose = min

    def __init__(self) -> None:
        self.value: Any = None

    def update(self, values: Sequence[Any]) -> None:
        values = present(values)
        if values:
            self._take(type(self)._choose(values))

    def _take(self, value: Any) -> None:
        if value is not None:
            self.value = value if self.value is None else type(self)._choose(self.value, value)

    def merge(self, other: Self) -> None:
        self._take(other.value)

    def dumps(self) -> Any:
        return storable(self.value)

    def loads(self, data: Any) -> None:
        self.value = stored(data)

    def result(self, secs: float = 1.0) -> Any:
        return self.value


class Largest(Smallest):
    """Keeps the largest value."""

    __slots__ = ()
    _choose = max


class First(Smallest):
    """Keeps the value of the smallest time, of pairs (time, value as JSON); of the same time, the smallest text."""

    __slots__ = ()

    def dumps(self) -> Any:
        return self.value

    def loads(self, data: Any) -> None:
        self.value = None if data is None else tuple(data)

    def result(self, secs: float = 1.0) -> Any:
        return None if self.value is None else msgspec.json.decode(self.value[1])


class Last(First):
    """Keeps the value of the largest time."""

    __slots__ = ()
    _choose = max


class MinMetric(FieldMetric):
    """Smallest of the numbers."""

    op: Literal["min"]

    def column(self) -> Column | None:
        return Column("numbers", self.field, self.where)

    def new(self) -> Aggregate:
        return Smallest()


class MaxMetric(FieldMetric):
    """Largest of the numbers."""

    op: Literal["max"]

    def column(self) -> Column | None:
        return Column("numbers", self.field, self.where)

    def new(self) -> Aggregate:
        return Largest()


class FirstMetric(FieldMetric):
    """Value of the event with the earliest `@timestamp`; of several at that time, the one whose JSON sorts first."""

    op: Literal["first"]

    def column(self) -> Column | None:
        return Column("stamped", self.field, self.where)

    def new(self) -> Aggregate:
        return First()


class LastMetric(FieldMetric):
    """Value of the event with the latest `@timestamp`; of several at that time, the one whose JSON sorts last."""

    op: Literal["last"]

    def column(self) -> Column | None:
        return Column("stamped", self.field, self.where)

    def new(self) -> Aggregate:
        return Last()

"""Ops `sum`, `mean` and `stddev`. Exact: the true answer for the values as they stand, rounded once, at the end.

So the order of values and merges does not matter, and daemons that each saw a part give the answer of one that saw all.

Stored: an exact sum is [whole numbers, [floats]]: what whole numbers amount to, and floats whose true sum is that of
all floats, greatest first. sum: one; mean: [count, sum]; stddev: [count, sum, sum of squares].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import fsum, sqrt
from operator import mul
from typing import Any, Literal, Self

import numpy as np

from dpiped.aggregates.base import Aggregate, Column, FieldMetric, present
from dpiped.aggregates.plain import storable, stored

_SPLITTER = 134_217_729.0
"""2**27 + 1: halves the digits of a float. Source: T. J. Dekker, A floating-point technique, 1971."""


class ExactSum:
    """A sum without rounding; numbers are below 1e150, so that neither they nor their squares overflow."""

    __slots__ = ("parts", "whole")

    def __init__(self) -> None:
        self.whole = 0
        self.parts: list[float] = []

    def add(self, numbers: Sequence[int | float]) -> None:
        """Whole numbers and floats, mixed."""
        kinds = set(map(type, numbers))
        if kinds == {int}:
            self.whole += sum(numbers)  # type: ignore[assignment]
        elif int not in kinds:
            self.add_floats(numbers)
        else:
            self.whole += sum(number for number in numbers if type(number) is int)
            self.add_floats([number for number in numbers if type(number) is float])

    def add_floats(self, numbers: Iterable[float]) -> None:
        """Floats only."""
        items = [*self.parts, *numbers]
        self.parts = []
        while rest := fsum(items):  # rounded correctly: 0.0 only when nothing is left
            self.parts.append(rest)
            items.append(-rest)

    def merge(self, other: ExactSum) -> None:
        self.whole += other.whole
        self.add_floats(other.parts)

    def dumps(self) -> Any:
        return storable(self.whole), self.parts

    def loads(self, data: Any) -> None:
        whole, parts = data
        self.whole, self.parts = stored(whole), list(parts)

    def exact(self) -> Fraction:
        return sum(map(Fraction, self.parts), Fraction(self.whole))

    def rounded(self) -> int | float:
        if not self.parts:
            return self.whole
        return float(self.exact()) if self.whole else fsum(self.parts)


class Sum(Aggregate):
    """Of the numbers; a whole number if all are."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = ExactSum()

    def update(self, values: Sequence[Any]) -> None:
        self.total.add(present(values))

    def merge(self, other: Self) -> None:
        self.total.merge(other.total)

    def dumps(self) -> Any:
        return self.total.dumps()

    def loads(self, data: Any) -> None:
        self.total.loads(data)

    def result(self, secs: float = 1.0) -> Any:
        return self.total.rounded()


class Mean(Sum):
    """Of the numbers."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def update(self, values: Sequence[Any]) -> None:
        values = present(values)
        self.count += len(values)
        self.total.add(values)

    def merge(self, other: Self) -> None:
        self.count += other.count
        self.total.merge(other.total)

    def dumps(self) -> Any:
        return self.count, self.total.dumps()

    def loads(self, data: Any) -> None:
        self.count = data[0]
        self.total.loads(data[1])

    def result(self, secs: float = 1.0) -> Any:
        return float(self.total.exact() / self.count) if self.count else None


class Stddev(Mean):
    """Of the population."""

    __slots__ = ("squares",)

    def __init__(self) -> None:
        super().__init__()
        self.squares = ExactSum()

    def update(self, values: Sequence[Any]) -> None:
        values = present(values)
        super().update(values)
        whole = [value for value in values if type(value) is int]
        self.squares.whole += sum(map(mul, whole, whole))
        if len(whole) < len(values):
            self.squares.add_floats(_squares([value for value in values if type(value) is float]))

    def merge(self, other: Self) -> None:
        super().merge(other)
        self.squares.merge(other.squares)

    def dumps(self) -> Any:
        return self.count, self.total.dumps(), self.squares.dumps()

    def loads(self, data: Any) -> None:
        super().loads(data)
        self.squares.loads(data[2])

    def result(self, secs: float = 1.0) -> Any:
        if not self.count:
            return None
        mean = self.total.exact() / self.count
        return sqrt(max(Fraction(0), self.squares.exact() / self.count - mean * mean))


def _squares(numbers: list[float]) -> list[float]:
    """Floats whose true sum is that of the squares: each square as it is rounded, and what was cut off by that."""
    value = np.array(numbers)
    square = value * value
    upper = value * _SPLITTER
    upper = upper - (upper - value)
    lower = value - upper
    cut = ((upper * upper - square) + 2 * upper * lower) + lower * lower
    return [*square.tolist(), *cut.tolist()]


class SumMetric(FieldMetric):
    """Sum of the numbers."""

    op: Literal["sum"]

    def column(self) -> Column | None:
        return Column("numbers", self.field, self.where)

    def new(self) -> Aggregate:
        return Sum()


class MeanMetric(FieldMetric):
    """Mean of the numbers."""

    op: Literal["mean"]

    def column(self) -> Column | None:
        return Column("numbers", self.field, self.where)

    def new(self) -> Aggregate:
        return Mean()


class StddevMetric(FieldMetric):
    """Standard deviation of the numbers, of the population."""

    op: Literal["stddev"]

    def column(self) -> Column | None:
        return Column("numbers", self.field, self.where)

    def new(self) -> Aggregate:
        return Stddev()

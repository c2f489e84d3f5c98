"""Ops `count`, `rate` and `ratio`: how many events. Exact.

Stored: count [events]; ratio [events that hold, all events]; rate of a field as `sum`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from dpiped.aggregates.base import Aggregate, Brief, Column, FieldName, Metric, Where
from dpiped.aggregates.sums import Sum


class Count(Aggregate):
    """Of all events that it is given."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def update(self, values: Sequence[Any]) -> None:
        self.value += len(values)

    def merge(self, other: Self) -> None:
        self.value += other.value

    def dumps(self) -> Any:
        return self.value

    def loads(self, data: Any) -> None:
        self.value = int(data)

    def result(self, secs: float = 1.0) -> Any:
        return self.value


class CountWhere(Count):
    """Of the events for which the value is true."""

    __slots__ = ()

    def update(self, values: Sequence[Any]) -> None:
        self.value += sum(values)


class Rate(Aggregate):
    """Another one's answer, for each second."""

    __slots__ = ("amount",)

    def __init__(self, amount: Aggregate) -> None:
        self.amount = amount

    def update(self, values: Sequence[Any]) -> None:
        self.amount.update(values)

    def merge(self, other: Self) -> None:
        self.amount.merge(other.amount)

    def dumps(self) -> Any:
        return self.amount.dumps()

    def loads(self, data: Any) -> None:
        self.amount.loads(data)

    def result(self, secs: float = 1.0) -> Any:
        return float(self.amount.result()) / secs


class Ratio(Aggregate):
    """Share of events for which the value is true."""

    __slots__ = ("events", "holds")

    def __init__(self) -> None:
        self.holds = self.events = 0

    def update(self, values: Sequence[Any]) -> None:
        self.holds += sum(values)
        self.events += len(values)

    def merge(self, other: Self) -> None:
        self.holds += other.holds
        self.events += other.events

    def dumps(self) -> Any:
        return self.holds, self.events

    def loads(self, data: Any) -> None:
        self.holds, self.events = data

    def result(self, secs: float = 1.0) -> Any:
        return self.holds / self.events if self.events else None


class CountMetric(Metric):
    """How many events."""

    op: Literal["count"]

    def column(self) -> Column | None:
        return Column("flags", where=self.where) if self.where else None

    def new(self) -> Aggregate:
        return CountWhere() if self.where else Count()

    def brief(self) -> Brief:
        amount = sum if self.where else len
        return lambda values, secs: (amount(values), 0.0)


class RateMetric(Metric):
    """How many events a second; with `field`, how much of it a second. Early results divide by the time so far."""

    op: Literal["rate"]
    field: FieldName | None = None
    """Number whose sum is divided; by default events are counted."""

    def column(self) -> Column | None:
        if self.field:
            return Column("numbers", self.field, self.where)
        return Column("flags", where=self.where) if self.where else None

    def new(self) -> Aggregate:
        return Rate(Sum() if self.field else CountWhere() if self.where else Count())


class RatioMetric(Metric):
    """Share of the events for which `where` holds, from 0 to 1."""

    op: Literal["ratio"]
    where: Where
    """What has to hold, as an expression: `status >= 500`."""

    def column(self) -> Column | None:
        return Column("flags", where=self.where)

    def new(self) -> Aggregate:
        return Ratio()

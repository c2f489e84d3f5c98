"""Op `topn`: the most frequent values. Exact while no more than 2,048 distinct ones came, then with a stated error.

It is the algorithm of Misra and Gries with purges in bulk, as in the frequent items of Apache DataSketches. Theirs is
not used: after a restart its table has another layout, purges take other samples from it, and answers change (measured
with 5.2). Here a purge happens only at every 1,024th value, so that it does not matter how values were cut into
updates, and takes the exact median.

What is counted for a value, c, is too little by at most `error`: the true count is from c to c + error. The answer
gives c + error, which is the true count of a value that was never purged.

Stored: [values seen, error, [values], [their counts]], in the order in which they came.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from operator import add, itemgetter
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from dpiped.aggregates.base import Aggregate, Brief, Column, FieldMetric, FieldName, present
from dpiped.aggregates.counting import Counts, add_counts, count_into
from dpiped.aggregates.plain import order, shown, storable, stored

CAPACITY = 2_048
"""So many values are kept after a purge is due; a purge leaves half of them."""
PURGE_EVERY = 1_024
_amount = itemgetter(1)


class TopN(Aggregate):
    """Values and what they weigh."""

    __slots__ = ("_error", "_n", "_seen", "counts")

    def __init__(self, n: int) -> None:
        self._n = n
        self.counts: Counts = {}
        self._error: int | float = 0
        self._seen = 0

    def update(self, values: Sequence[Any]) -> None:
        values = present(values)
        at = 0
        while at < len(values):
            some = values[at : at + PURGE_EVERY - self._seen % PURGE_EVERY]
            self._count(some)
            at += len(some)
            self._seen += len(some)
            if not self._seen % PURGE_EVERY:
                self._purge()

    def _count(self, values: Sequence[Any]) -> None:
        count_into(self.counts, values)

    def _purge(self) -> None:
        """Takes what the median has from all, and drops those of which nothing is left."""
        while len(self.counts) > CAPACITY:
            amounts = sorted(self.counts.values(), reverse=True)
            cut = amounts[CAPACITY // 2]
            self.counts = {value: amount - cut for value, amount in self.counts.items() if amount > cut}
            self._error += cut

    def merge(self, other: Self) -> None:
        add_counts(self.counts, other.counts.items())
        self._error += other._error
        self._seen += other._seen
        self._purge()

    def dumps(self) -> Any:
        amounts = list(map(storable, self.counts.values()))
        return self._seen, storable(self._error), list(map(storable, self.counts)), amounts

    def loads(self, data: Any) -> None:
        self._seen, error, values, amounts = data
        self._error = stored(error)
        self.counts = dict(zip(map(stored, values), map(stored, amounts), strict=True))

    def result(self, secs: float = 1.0) -> Any:
        return _best(self.counts, self._n, self._error)

    @property
    def error(self) -> float:
        return self._error


class WeightedTopN(TopN):
    """The same of pairs (value, weight)."""

    __slots__ = ()

    def _count(self, values: Sequence[Any]) -> None:
        counts = self.counts
        names, weights = zip(*values, strict=True)
        deque(map(counts.__setitem__, names, map(add, map(counts.get, names, repeat(0)), weights)), 0)


def _best(counts: Counts, n: int, error: float) -> list[dict[str, Any]]:
    """The n greatest; of equal ones in an order that does not depend on which came first."""
    pairs = list(counts.items())
    if len(pairs) > n:
        least = heapq.nlargest(n, counts.values())[-1]
        pairs = [pair for pair in pairs if pair[1] >= least]
    if len(pairs) > 1:
        _sort(pairs)
    return [{"value": shown(value), "count": amount + error} for value, amount in pairs[:n]]


def _sort(pairs: list[tuple[Any, Any]]) -> None:
    """By amount, the greatest first; equal ones by their values."""
    try:
        pairs.sort()
    except TypeError:  # values of different kinds, or booleans
        pairs.sort(key=lambda pair: order(pair[0]))
    pairs.sort(key=_amount, reverse=True)  # keeps the order of equal ones


class TopnMetric(FieldMetric):
    """The values that are most frequent, or weigh most: `[{"value": .., "count": ..}]`."""

    op: Literal["topn"]
    n: Annotated[int, Field(ge=1, le=500)] = 10
    """How many values."""
    by: FieldName | None = None
    """Number that a value weighs in each event; by default events are counted."""

    def column(self) -> Column | None:
        if self.by:
            return Column("weighted", self.field, self.where, self.by)
        return Column("plain", self.field, self.where)

    def new(self) -> Aggregate:
        return WeightedTopN(self.n) if self.by else TopN(self.n)

    def brief(self) -> Brief:
        of_many, n = super().brief(), self.n

        def brief(values: Sequence[Any], secs: float) -> tuple[Any, float]:
            if len(values) >= PURGE_EVERY:
                return of_many(values, secs)
            counts: Counts = {}
            count_into(counts, values)
            counts.pop(None, None)
            return _best(counts, n, 0), 0.0

        return of_many if self.by else brief

    def fields(self) -> set[str]:
        return {*super().fields(), *([self.by] if self.by else ())}

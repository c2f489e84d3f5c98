"""Ops `quantiles` and `histogram`: how many values in each bucket. Merging adds; the order of values does not matter.

The codes of buckets are computed for a whole pack at once (`quantile_codes`, `Edges.codes`); an aggregate only counts.

Stored: [codes in ascending order], [their counts]. A code of `quantiles` is 0 for zero, else the sign of the value
times (OFFSET + ceil(log of its size to base GAMMA)).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise
from math import ceil, exp, inf, log
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dpiped.aggregates.base import Aggregate, Brief, Column, FieldMetric
from dpiped.aggregates.counting import Counts, add_counts, count_into
from dpiped.config.base import ConfigModel

QUANTILE_ERROR = 0.005
"""Stated: a value is within 0.5 % of the exact one."""
_GAMMA = (1 + 0.0049) / (1 - 0.0049)
"""Upper end of a bucket over its lower one; a little less than the stated error allows, for the rounding of answers."""
_LOG_GAMMA = log(_GAMMA)
_OFFSET = 40_000
"""More than the code of 1e-150, the smallest size that is told from zero."""
_TINY = 1e-150
SKIPPED = 1 << 30
"""Code of an event without a value."""
MOST_BUCKETS = 1_000


class Buckets(Aggregate):
    """Counts codes."""

    __slots__ = ("counts", "metric")

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self.counts: Counts = {}

    def update(self, values: Sequence[Any]) -> None:
        count_into(self.counts, values)
        self.counts.pop(SKIPPED, None)

    def merge(self, other: Self) -> None:
        add_counts(self.counts, other.counts.items())

    def dumps(self) -> Any:
        codes = sorted(self.counts)
        return codes, [self.counts[code] for code in codes]

    def loads(self, data: Any) -> None:
        self.counts = dict(zip(*data, strict=True))

    def result(self, secs: float = 1.0) -> Any:
        return self.metric.answer(self.counts) if self.counts else None

    @property
    def error(self) -> float:
        return float(self.metric.stated_error)


def quantile_codes(numbers: Any) -> Any:
    """Buckets of an array of floats, shape (n_events,); NaN is skipped."""
    size = np.abs(numbers)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.ceil(np.log(np.maximum(size, _TINY)) / _LOG_GAMMA) + _OFFSET
    codes = np.where(size < _TINY, 0, np.copysign(codes, numbers))
    return np.where(np.isnan(numbers), SKIPPED, codes).astype(np.int64)


@lru_cache(maxsize=65_536)
def value_of(code: int) -> float:
    """The value that stands for all in a bucket."""
    if not code:
        return 0.0
    size = exp((abs(code) - _OFFSET) * _LOG_GAMMA) * 2 / (_GAMMA + 1)
    return float(f"{size if code > 0 else -size:.5g}")


def quantile_name(quantile: float) -> str:
    """0.999 -> p99_9."""
    return "p" + f"{quantile * 100:.10g}".replace(".", "_")


class QuantilesMetric(FieldMetric):
    """Values below which such a share of the numbers lies: `{"p50": .., "p99_9": ..}`, within 0.5 %."""

    op: Literal["quantiles"]
    q: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(default=(0.5, 0.95, 0.99), min_length=1, max_length=100)
    """Shares from 0 (smallest) to 1 (largest)."""

    @model_validator(mode="after")
    def _check(self) -> QuantilesMetric:
        if len(set(map(quantile_name, self.q))) < len(self.q):
            raise ValueError("q: expected each share once")
        return self

    stated_error: ClassVar[float] = QUANTILE_ERROR

    def parts(self) -> tuple[str, ...]:
        """The names in its answer."""
        return tuple(map(quantile_name, self.q))

    def column(self) -> Column | None:
        return Column("quantile_codes", self.field, self.where)

    def new(self) -> Aggregate:
        return Buckets(self)

    def answer(self, counts: Counts) -> dict[str, float]:
        """The value at rank ceil(share * count), the first for 0."""
        codes = sorted(counts)
        total = sum(counts.values())
        answer: dict[str, float] = {}
        at, below = 0, counts[codes[0]]
        for name, quantile in _in_order(self.q):
            rank = _rank(quantile, total)
            while below < rank:
                at += 1
                below += counts[codes[at]]
            answer[name] = value_of(codes[at])
        return answer

    def brief(self) -> Brief:
        places = lru_cache(maxsize=4_096)(partial(_places, self.q))
        names = [name for name, _ in _in_order(self.q)]

        def brief(values: Sequence[Any], secs: float) -> tuple[Any, float]:
            codes = sorted(values)
            while codes and codes[-1] == SKIPPED:
                codes.pop()
            if not codes:
                return None, QUANTILE_ERROR
            if codes[0] == codes[-1]:
                return dict.fromkeys(names, value_of(codes[0])), QUANTILE_ERROR
            return {name: value_of(codes[place]) for name, place in places(len(codes))}, QUANTILE_ERROR

        return brief


def _rank(quantile: float, total: int) -> int:
    """From 1; 0 for the smallest. A little less than half a rounding error is forgiven: 0.1 * 30 is 3."""
    return ceil(quantile * total - 1e-9)


def _places(quantiles: tuple[float, ...], total: int) -> tuple[tuple[str, int], ...]:
    """Names and indices in so many sorted values."""
    return tuple((name, max(_rank(share, total), 1) - 1) for name, share in _in_order(quantiles))


@lru_cache(maxsize=256)
def _in_order(quantiles: tuple[float, ...]) -> tuple[tuple[str, float], ...]:
    return tuple((quantile_name(quantile), quantile) for quantile in sorted(quantiles))


class Steps(ConfigModel):
    """Bounds in equal steps."""

    start: float
    """First bound."""
    step: Annotated[float, Field(gt=0)]
    """From one bound to the next: what is added, or with `log` what it is multiplied with."""
    count: Annotated[int, Field(ge=2, le=MOST_BUCKETS)]
    """How many bounds."""


class HistogramMetric(FieldMetric):
    """How many numbers in each range `lo-hi`, `lo` included: `{"0-10": 3, "10-20": 4, ">=20": 1}`; empty ones are
    left out.
    """

    op: Literal["histogram"]
    bounds: tuple[float, ...] | None = Field(default=None, min_length=1, max_length=MOST_BUCKETS, examples=[[0, 10]])
    """Bounds, ascending; or give `linear` or `log`."""
    linear: Steps | None = None
    """Bounds `start`, `start + step`, .."""
    log: Steps | None = None
    """Bounds `start`, `start * step`, ..; `start` is more than 0, `step` more than 1."""

    stated_error: ClassVar[float] = 0.0

    @model_validator(mode="after")
    def _check(self) -> HistogramMetric:
        if [self.bounds, self.linear, self.log].count(None) != 2:
            raise ValueError("expected one of bounds, linear and log")
        if self.log and not (self.log.start > 0 and self.log.step > 1):
            raise ValueError("log: expected start of more than 0 and step of more than 1")
        try:
            edges = self.edges()
        except OverflowError:
            edges = (inf,)
        if any(a >= b for a, b in pairwise(edges)) or abs(edges[-1]) > 1e150:
            raise ValueError("bounds: expected ascending numbers up to 1e150")
        return self

    def edges(self) -> tuple[float, ...]:
        """All bounds."""
        if self.bounds:
            return self.bounds
        if self.linear:
            return tuple(self.linear.start + n * self.linear.step for n in range(self.linear.count))
        assert self.log is not None
        return tuple(self.log.start * self.log.step**n for n in range(self.log.count))

    def parts(self) -> tuple[str, ...]:
        """The names that may be in its answer."""
        return _labels(self.edges())

    def column(self) -> Column | None:
        return Column("edge_codes", self.field, self.where, self.edges())

    def new(self) -> Aggregate:
        return Buckets(self)

    def answer(self, counts: Counts) -> dict[str, int]:
        names = _labels(self.edges())
        return {names[code]: counts[code] for code in sorted(counts)}


def bound_texts(bounds: Sequence[float]) -> list[str]:
    """Bounds as labels of ranges have them: short, and exact where short ones would be equal."""
    short = [f"{bound:.0f}" if bound.is_integer() and abs(bound) < 1e15 else f"{bound:.12g}" for bound in bounds]
    return short if len(set(short)) == len(short) else list(map(repr, bounds))


@lru_cache(maxsize=256)
def _labels(edges: tuple[float, ...]) -> tuple[str, ...]:
    texts = bound_texts(edges)
    between = [f"{low}-{high}" for low, high in pairwise(texts)]
    return (f"<{texts[0]}", *between, f">={texts[-1]}")


def edge_codes(numbers: Any, edges: tuple[float, ...]) -> Any:
    """Which range each float is in, shape (n_events,): 0 below the first bound; NaN is skipped."""
    codes = np.searchsorted(np.array(edges), numbers, side="right")
    return np.where(np.isnan(numbers), SKIPPED, codes)

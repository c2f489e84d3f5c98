"""`./dev bench accuracy`: what sketches answer against the truth, with the bounds that are stated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from dpiped.aggregates import Aggregate, AnyMetric, Metric
from dpiped.aggregates.buckets import quantile_codes

SEEDS = 10
PARTS = 16
SHARES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_metrics: TypeAdapter[Any] = TypeAdapter(AnyMetric)


@dataclass(frozen=True)
class Line:
    what: str
    data: str
    found: float
    bound: float
    kept: bool


def metric(**options: Any) -> Metric:
    found: Metric = _metrics.validate_python(options)
    return found


def seen(found: Metric, values: np.ndarray[Any, Any], parts: int) -> Aggregate:
    """An aggregate of all values, or merged of such of parts."""
    total: Aggregate | None = None
    for part in np.array_split(values, parts):
        one = found.new()
        for at in range(0, len(part), 100_000):
            one.update(part[at : at + 100_000].tolist())
        if total is None:
            total = one
        else:
            total.merge(one)
    assert total is not None
    return total


def cardinality(parts: int) -> Iterator[Line]:
    found = metric(op="cardinality", field="a")
    for distinct in (10, 10_000, 1_000_000, 10_000_000):
        worst = 0.0
        for seed in range(SEEDS):
            values = np.arange(distinct, dtype=np.int64) * 7_919 + seed * (1 << 40)
            worst = max(worst, abs(seen(found, values, parts).result() / distinct - 1))
        bound = 0.0 if distinct <= 1_000 else 0.03
        yield Line("cardinality", f"{distinct:,} distinct, worst of {SEEDS}", worst, bound, worst <= bound)


def quantiles(parts: int) -> Iterator[Line]:
    found = metric(op="quantiles", field="a", q=SHARES)
    for name, make in DISTRIBUTIONS.items():
        worst = 0.0
        for seed in range(SEEDS):
            values = make(np.random.default_rng(seed)).astype(float)
            answer = seen(found, quantile_codes(values), parts).result().values()
            exact = np.sort(values)[[max(math.ceil(share * len(values) - 1e-9), 1) - 1 for share in SHARES]]
            off = [abs(a - b) / abs(b) if b else abs(a) for a, b in zip(answer, exact.tolist(), strict=True)]
            worst = max(worst, *off)
        yield Line("quantiles", f"{name}, worst of {SEEDS}", worst, 0.005, worst <= 0.005)


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator], np.ndarray[Any, Any]]] = {
    "log-normal": lambda chance: chance.lognormal(-3, 2, 50_000),
    "Zipf": lambda chance: chance.zipf(1.3, 50_000),
    "sorted": lambda chance: np.sort(chance.random(50_000)),
    "constant": lambda chance: np.full(50_000, chance.random()),
    "negative and zero": lambda chance: chance.normal(0, 5, 50_000).round(1),
}


def topn(parts: int) -> Iterator[Line]:
    found = metric(op="topn", field="a", n=10)
    weights = 1 / np.arange(1, 100_001) ** 1.1
    hits, inside = 0, True
    for seed in range(SEEDS):
        values = np.random.default_rng(seed).choice(100_000, 300_000, p=weights / weights.sum())
        one, true = seen(found, values, parts), Counter(values.tolist())
        least = sorted(true.values(), reverse=True)[9]
        for row in one.result():
            hits += true[row["value"]] >= least
            inside = inside and row["count"] - one.error <= true[row["value"]] <= row["count"]
    recall = hits / 10 / SEEDS
    kept = recall >= 0.98 and inside
    yield Line("topn", "Zipf 1.1, 10 of 100,000, recall; counts within bound", recall, 0.98, kept)


async def main() -> int:
    """Prints the table; 1 when a bound is missed."""
    table = Table("op", "data", "parts", "found", "bound", "")
    kept = True
    for parts in (1, PARTS):
        for line in (*cardinality(parts), *quantiles(parts), *topn(parts)):
            kept = kept and line.kept
            mark = "[green]kept" if line.kept else "[red]missed"
            table.add_row(line.what, line.data, str(parts), f"{line.found:.5f}", f"{line.bound:g}", mark)
    Console(width=120).print(table)
    return 0 if kept else 1

"""What `when` and `title` may name, and `when` compiled over it.

The names are the metrics, `count` among them, and below those that answer with several values each of these:
`latency.p95`. A quantile is also known as `p95` alone where only one metric has it and no metric is called so.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from dpiped.aggregates import HistogramMetric, Metric, QuantilesMetric, TopnMetric
from dpiped.expressions import compile_where
from dpiped.expressions.parser import parse
from dpiped.expressions.tree import fields_of, valued_fields_of

COUNT = "count"
"""The metric that is always there: how many events."""


class Names:
    """Of the metrics of one alarm."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        parts = {name: _parts(metric) for name, metric in metrics.items()}
        self.all = frozenset({COUNT, *metrics, *(f"{name}.{part}" for name in parts for part in parts[name])})
        quantiles = [
            (name, part) for name in parts if isinstance(metrics[name], QuantilesMetric) for part in parts[name]
        ]
        seen = Counter(part for _, part in quantiles)
        self.short = {part: name for name, part in quantiles if seen[part] == 1 and part not in self.all}
        """Short name of a quantile -> its metric."""
        self._unlike = {name: _advice(name, metric) for name, metric in metrics.items() if not _is_single(metric)}
        """Metrics that no comparison holds for -> what to do."""

    def check(self, names: Iterable[str], key: str, more: Iterable[str] = ()) -> None:
        """Raises ValueError for the first name that stands for nothing."""
        known = {*self.all, *self.short, *more}
        for name in sorted(set(names) - known):
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"{key}: there is no {name!r}; {hint}")

    def check_single(self, names: Iterable[str], key: str) -> None:
        """Raises ValueError for the first name of a metric that is more than one value."""
        for name in sorted(names):
            if name in self._unlike:
                raise ValueError(f"{key}: {name!r} is more than one value; {self._unlike[name]}")

    def widen(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values of a window with their short names."""
        found = {part: values[name][part] for part, name in self.short.items() if part in values.get(name, ())}
        return {**values, **found}


def _parts(metric: Metric) -> tuple[str, ...]:
    if isinstance(metric, QuantilesMetric | HistogramMetric):
        return metric.parts()
    return ()


def _is_single(metric: Metric) -> bool:
    return not _parts(metric) and not isinstance(metric, TopnMetric)


def _advice(name: str, metric: Metric) -> str:
    parts = _parts(metric)
    return f"compare one of them: {name}.{parts[-1]}" if parts else "what is in a top list cannot be compared"


class Condition:
    """`when`: a `where` expression over the values of a window. Immutable."""

    def __init__(self, text: str, names: Names) -> None:
        self._predicate = compile_where(text)
        self._names = names

    def holds(self, values: dict[str, Any]) -> bool:
        """Whether it is true of them; a comparison with a value that is not there is false."""
        return self._predicate.matches(self._names.widen(values))


def check_when(text: str, names: Names) -> None:
    """Raises ValueError if it names what is not there, or compares what is never like anything."""
    tree = parse(text)
    names.check(fields_of(tree), "when")
    names.check_single(valued_fields_of(tree), "when")

"""All ops, as one kind of table for configs: `op` says which."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from dpiped.aggregates.base import Metric
from dpiped.aggregates.buckets import HistogramMetric, QuantilesMetric
from dpiped.aggregates.cardinality import CardinalityMetric
from dpiped.aggregates.count import CountMetric, RateMetric, RatioMetric
from dpiped.aggregates.ends import FirstMetric, LastMetric, MaxMetric, MinMetric
from dpiped.aggregates.sums import MeanMetric, StddevMetric, SumMetric
from dpiped.aggregates.topn import TopnMetric

_Metric = (
    CountMetric
    | SumMetric
    | MinMetric
    | MaxMetric
    | MeanMetric
    | StddevMetric
    | RateMetric
    | FirstMetric
    | LastMetric
    | CardinalityMetric
    | QuantilesMetric
    | TopnMetric
    | HistogramMetric
    | RatioMetric
)
AnyMetric = Annotated[_Metric, Field(discriminator="op")]
"""`{ op = "topn", field = "uri", n = 10 }`."""
METRICS: dict[str, type[Metric]] = {
    get_args(model.model_fields["op"].annotation)[0]: model for model in get_args(_Metric)
}
"""Op -> its options, in the order of the documentation."""

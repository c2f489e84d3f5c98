"""Aggregates: mergeable, serialisable, each with a stated error bound."""

from dpiped.aggregates.base import Aggregate, Column, FieldMetric, Metric
from dpiped.aggregates.buckets import HistogramMetric, QuantilesMetric
from dpiped.aggregates.cardinality import CardinalityMetric
from dpiped.aggregates.columns import Columns, fields_of
from dpiped.aggregates.count import CountMetric, RateMetric, RatioMetric
from dpiped.aggregates.ends import FirstMetric, LastMetric, MaxMetric, MinMetric
from dpiped.aggregates.metric import METRICS, AnyMetric
from dpiped.aggregates.sums import MeanMetric, StddevMetric, SumMetric
from dpiped.aggregates.topn import TopnMetric

__all__ = [
    "METRICS",
    "Aggregate",
    "AnyMetric",
    "CardinalityMetric",
    "Column",
    "Columns",
    "CountMetric",
    "FieldMetric",
    "FirstMetric",
    "HistogramMetric",
    "LastMetric",
    "MaxMetric",
    "MeanMetric",
    "Metric",
    "MinMetric",
    "QuantilesMetric",
    "RateMetric",
    "RatioMetric",
    "StddevMetric",
    "SumMetric",
    "TopnMetric",
    "fields_of",
]

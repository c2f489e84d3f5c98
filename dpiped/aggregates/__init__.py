"""Aggregates: mergeable, serialisable, each with a stated error bound."""

from dpiped.aggregates.base import Aggregate
from dpiped.aggregates.count import Count

__all__ = ["Aggregate", "Count"]

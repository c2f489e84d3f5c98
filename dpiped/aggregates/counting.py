"""Counts of values in a plain dict. A Counter does the same and costs ten times as much to make and to call, which is
what counts where there are many small groups.
"""

from __future__ import annotations

from collections import _count_elements  # type: ignore[attr-defined]  # what Counter itself calls, in C
from collections.abc import Iterable
from typing import Any

Counts = dict[Any, Any]
count_into = _count_elements
"""count_into(counts, values): adds 1 for each value."""


def add_counts(counts: Counts, more: Iterable[tuple[Any, Any]]) -> None:
    """Adds pairs (value, amount)."""
    for value, amount in more:
        counts[value] = counts.get(value, 0) + amount

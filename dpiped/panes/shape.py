"""What a filter computes: groups and metrics, as columns of a pack that are read once however many metrics use them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dpiped.aggregates import Aggregate, Column, Columns, fields_of
from dpiped.aggregates.plain import hashable, whole
from dpiped.long_texts import held

if TYPE_CHECKING:
    from dpiped.panes.config import GroupedConfig
    from dpiped.telemetry import Telemetry
    from dpiped.view import PackView

OTHER = "_other"
"""Value of all fields of the group of those that are too many."""
VERSION = 2
"""Of what is stored: panes, their groups, and the data of aggregates. 1 was counts only."""

Key = Any
"""A group as key of a dict: the value of its field, a tuple of values for several fields, () without fields."""


Answers = list[tuple[Any, float]]
"""(answer, its error) of each metric; None = no answer."""


class Shape:
    """Groups and metrics of one filter. Immutable."""

    def __init__(self, config: GroupedConfig, pane: str) -> None:
        self.group_by = config.group_by
        self.max_groups = config.max_groups
        self.metrics = tuple(config.metrics.items())
        columns = [metric.column() for _, metric in self.metrics]
        self.columns: tuple[Column, ...] = tuple(dict.fromkeys(column for column in columns if column))
        self._places = [None if column is None else self.columns.index(column) for column in columns]
        """Which of the columns each metric reads; None: it only wants to know how many events there are."""
        self._briefs = [(metric.brief(), place) for (_, metric), place in zip(self.metrics, self._places, strict=True)]
        self.other: Key = OTHER if len(self.group_by) == 1 else (OTHER,) * len(self.group_by)
        stored = [(name, metric.shape()) for name, metric in self.metrics]
        text = f"{VERSION}/{pane}/{self.group_by}/{stored}"
        self.digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        """The same for filters whose panes can be merged."""

    def fields(self) -> Iterable[str]:
        """What is read of events."""
        return {*self.group_by, *fields_of(self.columns)}

    def keys(self, view: PackView) -> list[Key]:
        """The group of each event, shape (view.count,)."""
        if not self.group_by:
            return [()] * view.count
        columns = [self._group_values(view, name) for name in self.group_by]
        if view.pack.has_long_texts:
            columns = [list(map(held, column)) for column in columns]
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

    def _group_values(self, view: PackView, name: str) -> list[Any]:
        """Of 5 and 5.0, which are one group, always 5: neither what is told nor an id depends on which came first."""
        values, kinds = self.group_column(view, name)
        return hashable(whole(values, kinds), kinds)

    def group_column(self, view: PackView, name: str) -> tuple[list[Any], set[type]]:
        """The values of one of the fields that part the events, and their types."""
        return view.typed(name)

    def values(self, key: Key) -> Sequence[Any]:
        """The values of the fields of a group."""
        return (key,) if len(self.group_by) == 1 else key

    def key(self, values: Sequence[Any]) -> Key:
        """The inverse of `values`."""
        return values[0] if len(self.group_by) == 1 else tuple(values)

    def read(self, view: PackView, telemetry: Telemetry, name: str) -> list[list[Any]]:
        """The columns of a pack; what had to be skipped is counted."""
        if not self.columns:
            return []
        columns = Columns(view)
        found = [columns.read(column) for column in self.columns]
        for reason, amount in columns.skipped.items():
            telemetry.metrics.noted.labels(name, f"skipped_{reason}").inc(amount)
        return found

    def new(self) -> list[Aggregate]:
        """The aggregates of a group that has seen nothing."""
        return [metric.new() for _, metric in self.metrics]

    def update(self, aggregates: Sequence[Aggregate], rows: Sequence[tuple[Any, ...]]) -> None:
        """Hands over the events of one group, each a row of `columns`; without columns only their number counts."""
        columns = list(zip(*rows, strict=True)) if self.columns else []
        for aggregate, place in zip(aggregates, self._places, strict=True):
            aggregate.update(rows if place is None else columns[place])

    def answers(self, aggregates: Sequence[Aggregate], secs: float) -> Answers:
        """Of one group."""
        return [(aggregate.result(secs), aggregate.error) for aggregate in aggregates]

    def brief_answers(self, rows: Sequence[tuple[Any, ...]], secs: float) -> Answers:
        """The same of a group of which these few events are all there is."""
        columns = list(zip(*rows, strict=True))
        return [brief(rows if place is None else columns[place], secs) for brief, place in self._briefs]

    def merge(self, parts: Sequence[Sequence[Aggregate]]) -> Sequence[Aggregate]:
        """The aggregates of one group, from several panes; the parts are not changed."""
        merged = self.new()
        for part in parts:
            for total, aggregate in zip(merged, part, strict=True):
                total.merge(aggregate)
        return merged

    def dumps(self, aggregates: Sequence[Aggregate]) -> list[Any]:
        """Of one group."""
        return [aggregate.dumps() for aggregate in aggregates]

    def loads(self, data: Sequence[Any]) -> list[Aggregate]:
        """The inverse of `dumps`."""
        aggregates = self.new()
        for aggregate, dumped in zip(aggregates, data, strict=True):
            aggregate.loads(dumped)
        return aggregates

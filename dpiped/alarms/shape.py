"""Groups of an alarm: their texts are normalised, and cut where they are very long."""

from __future__ import annotations

from typing import Any

from dpiped.aggregates.plain import whole
from dpiped.alarms.config import AlarmConfig
from dpiped.normalise import Normaliser
from dpiped.panes.shape import Shape
from dpiped.view import PackView

LONGEST = 1_000
"""Characters of a field of a group: it is kept in the state, told, and put into titles."""


class AlarmShape(Shape):
    """Immutable."""

    def __init__(self, config: AlarmConfig, pane: str) -> None:
        super().__init__(config, pane)
        self._normalisers = {name: Normaliser(rules) for name, rules in config.normalise.items()}

    def group_column(self, view: PackView, name: str) -> tuple[list[Any], set[type]]:
        values = view.column(name)
        if name in self._normalisers:
            values = self._normalisers[name].texts(values)
        if any(type(value) is str and len(value) > LONGEST for value in values):
            values = [value[:LONGEST] if isinstance(value, str) else value for value in values]
        values = whole(values)  # what is saved must not depend on which of 5 and 5.0 came last
        return values, set(map(type, values))

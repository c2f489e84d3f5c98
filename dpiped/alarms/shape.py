"""Groups of an alarm: their texts are normalised, and cut where they are very long."""

from __future__ import annotations

from typing import Any

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
        values = whole(values)
        return values, set(map(type, values))


def whole(values: list[Any]) -> list[Any]:
    """5.0 as 5: they are one group, and what is saved of it must not depend on which of both came last."""
    if float not in set(map(type, values)):
        return values
    return [int(value) if type(value) is float and value.is_integer() else value for value in values]

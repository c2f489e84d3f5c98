"""Groups of an alarm: their texts are normalised, and cut where they are very long."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from dpiped.alarms.config import AlarmConfig
from dpiped.alarms.slices import Effort
from dpiped.normalise import Normaliser
from dpiped.panes.shape import Key, Shape
from dpiped.plugin import PAUSE, PackDraft
from dpiped.view import PackView

LONGEST = 1_000
"""Characters of a field of a group: it is kept in the state, told, and put into titles."""
CHARS_AT_ONCE = 8_192
"""Normalised before others may run: 1 to 2 ms."""
CHARS_OF_CALL = 50
"""What a text costs however short it is."""


class AlarmShape(Shape):
    """Belongs to one filter; the groups of a pack are read by `keys_slowly`."""

    def __init__(self, config: AlarmConfig, pane: str) -> None:
        super().__init__(config, pane)
        self._normalisers = {name: Normaliser(rules) for name, rules in config.normalise.items()}
        self._texts: dict[str, dict[str, str]] = {}
        """Field -> texts of the pack in hand and what they become."""

    def keys_slowly(self, view: PackView, parts: Sequence[PackView]) -> Generator[PackDraft, None, list[Key]]:
        """As `keys`, bit by bit; `parts` are those of the view."""
        for name, normaliser in self._normalisers.items():
            self._texts[name] = yield from _normalised(view.column(name), normaliser)
        keys: list[Key] = []
        for part in parts:
            keys += self.keys(part)
            yield PAUSE
        self._texts.clear()
        return keys

    def group_column(self, view: PackView, name: str) -> tuple[list[Any], set[type]]:
        values = view.column(name)
        if name in self._normalisers:
            known = self._texts[name]
            values = [known[value] if type(value) is str else value for value in values]
        if any(type(value) is str and len(value) > LONGEST for value in values):
            values = [value[:LONGEST] if isinstance(value, str) else value for value in values]
        return values, set(map(type, values))


def _normalised(column: list[Any], normaliser: Normaliser) -> Generator[PackDraft, None, dict[str, str]]:
    """Text -> what it becomes, of all texts in a column."""
    known: dict[str, str] = {}
    effort = Effort(CHARS_AT_ONCE)
    for text in dict.fromkeys(value for value in column if type(value) is str):
        known[text] = normaliser.text(text)
        if effort.add(CHARS_OF_CALL + len(text)):
            yield PAUSE
    return known

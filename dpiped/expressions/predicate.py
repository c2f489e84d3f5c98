"""Predicate: a compiled expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dpiped.expressions.errors import WhereError
from dpiped.expressions.evaluate import holds
from dpiped.expressions.generate import generate
from dpiped.expressions.parser import parse
from dpiped.expressions.tree import Node, fields_of

if TYPE_CHECKING:
    from dpiped.view import PackView


class Predicate:
    """Tells for each event of a pack whether it is wanted. Immutable and thread-safe; never raises for an event."""

    __slots__ = ("_columns", "_mask", "_node", "fields", "text")

    def __init__(self, text: str, node: Node) -> None:
        self.text = text
        self.fields = fields_of(node)
        """What it reads: the projection of the view must have all of these."""
        self._node = node
        self._columns = sorted(self.fields)
        self._mask = generate(node, self._columns) if self._columns else None

    def mask(self, view: PackView) -> list[bool]:
        """One bool for each event of the view, shape (view.count,)."""
        constants = {path: view.constant(path) for path in self._columns}
        if self._mask is None or all(constants.values()):  # the head decides for the whole pack
            return [holds(self._node, constants)] * view.count
        return self._mask(*(view.column(path) for path in self._columns))

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Whether one event, as a plain object, is wanted; the same answer as `mask`, more slowly."""
        return holds(self._node, event)

    def __repr__(self) -> str:
        return f"Predicate({self.text!r})"


def compile_where(text: str) -> Predicate:
    """The predicate of an expression; raises WhereError."""
    return Predicate(text, parse(text))


def check_where(text: str) -> str:
    """For config fields: the text itself if it is an expression, else ValueError that shows the place by a caret."""
    try:
        parse(text)
    except WhereError as exc:
        caret = "".join(f"\n    {line}" for line in exc.caret().splitlines())
        raise ValueError(f"{exc}{caret}") from exc
    return text

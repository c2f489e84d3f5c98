"""Fields of one decoded event: read, written, moved and taken out by their dotted paths.

An event is a dict of its top-level members, and a member that nobody touches stays the bytes that it came as
(`msgspec.Raw`). Objects on the way of a path become such dicts too, once for each event. A path is tried by its literal
name first (`"a.b": 1`), then as steps into objects, as projections do it; null counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dpiped.projection import UNREADABLE, JsonObject

Row = dict[str, Any]
"""Key -> Raw as it came, a dict of an object that was opened, or a value that a step wrote."""
decode_rows = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode_lines
_open = msgspec.json.Decoder(dict[str, msgspec.Raw] | int | float | str | bool | list[msgspec.Raw] | None).decode
_decode_value = msgspec.json.Decoder(JsonObject | int | float | str | bool | list[Any] | None).decode
NOTHING = msgspec.UNSET
"""There is no such member; for a column that is written: this event is left as it is."""


class FieldPath:
    """One path, ready to use on many rows. Immutable."""

    __slots__ = ("_around", "_last", "_nested", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        *self._around, self._last = text.split(".") if text != "@timestamp" else [text]
        self._nested = bool(self._around)

    def member(self, row: Row) -> Any:
        """What stands there, not decoded; NOTHING if the key is nowhere. A literal null gives way to a nested value."""
        found = row.get(self.text, NOTHING)
        if self._nested and (found is NOTHING or is_null(found)):
            parent = self._parent(row)
            nested = NOTHING if parent is None else parent.get(self._last, NOTHING)
            return found if nested is NOTHING else nested
        return found

    def value(self, row: Row) -> Any:
        """The plain value; None if it is absent, null, an object, or cannot be read."""
        found = plain(row.get(self.text))
        if found is None and self._nested:
            parent = self._parent(row)
            return None if parent is None else plain(parent.get(self._last))
        return found

    def move(self, row: Row, new: FieldPath) -> bool:
        """Puts the member, which is there, at another path; False, and nothing done, if something else is in the way
        to it.
        """
        found = self.member(row)
        literal = found is row.get(self.text, NOTHING)
        node, key = (row, self.text) if literal else (self._parent(row), self._last)
        assert node is not None
        del node[key]
        if new.write(row, found):
            return True
        node[key] = found
        return False

    def write(self, row: Row, value: Any) -> bool:
        """Puts a value there; objects on the way are made. False, and nothing done, if something else is in the way."""
        if not self._nested or (self.text in row and self._is_literal(row)):
            row[self.text] = value
            return True
        node = row
        for at, step in enumerate(self._around):
            inner = _opened(node, step)
            if inner is None:
                if not is_null(node.get(step)):
                    return False
                node[step] = _objects((*self._around[at + 1 :], self._last), value)
                return True
            node = inner
        node[self._last] = value
        return True

    def _is_literal(self, row: Row) -> bool:
        """Whether the value of the path is that of its literal name, and none inside objects."""
        if plain(row[self.text]) is not None:
            return True
        parent = self._parent(row)
        return parent is None or self._last not in parent

    def move_nested(self, row: Row, kept: Row) -> None:
        """Puts what stands inside objects of one event into those of another."""
        parent = self._parent(row)
        if parent is not None and self._last in parent:
            node = kept
            for step in self._around:
                inner = _opened(node, step)
                if inner is None:
                    inner = node[step] = {}
                node = inner
            node[self._last] = parent[self._last]

    def remove(self, row: Row) -> None:
        """Takes it out wherever it is, by its literal name and inside objects."""
        row.pop(self.text, None)
        if self._nested and (parent := self._parent(row)) is not None:
            parent.pop(self._last, None)

    def replace(self, row: Row, change: Callable[[Any], Any]) -> None:
        """Puts what `change` makes of a member in its place, wherever it is."""
        if self.text in row:
            row[self.text] = change(row[self.text])
        parent = self._parent(row) if self._nested else None
        if parent is not None and self._last in parent:
            parent[self._last] = change(parent[self._last])

    def _parent(self, row: Row) -> Row | None:
        """The object that the last step is in."""
        node = row
        for step in self._around:
            inner = node.get(step)
            if type(inner) is not dict:
                inner = _opened(node, step)
                if inner is None:
                    return None
            node = inner
        return node


def plain(member: Any) -> Any:
    """The value of a member, as a column has it: None for null, objects and what cannot be read."""
    if type(member) is msgspec.Raw:
        try:
            value = _decode_value(member)
        except UNREADABLE:
            return None
        return None if type(value) is JsonObject else value
    return None if isinstance(member, dict) else member


def is_null(member: Any) -> bool:
    """Whether a member counts as absent though its key may be there."""
    return member is None or (isinstance(member, msgspec.Raw) and bytes(memoryview(member)[:5]) == b"null")


def _opened(node: Row, step: str) -> Row | None:
    """The object under a key, decoded one level deep in its place; None if there is none."""
    inner = node.get(step)
    if type(inner) is dict:
        return inner
    if type(inner) is not msgspec.Raw:
        return None
    try:
        opened = _open(inner)
    except UNREADABLE:
        return None
    if type(opened) is not dict:
        return None
    node[step] = opened
    return opened


def _objects(steps: tuple[str, ...], value: Any) -> Any:
    for step in reversed(steps):
        value = {step: value}
    return value

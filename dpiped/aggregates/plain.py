"""Plain values of events as keys of dicts and as stored data: groups, distinct values, top lists.

`true` and 1 are different values, 1 and 1.0 are the same. Whole numbers may have any length.

Stored (msgpack): as they are; whole numbers of more than 64 bits as extension 1 with their decimal digits.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dpiped.long_texts import held

_BIG_INT = 1
_SMALL = range(-(1 << 63), 1 << 63)


class Truth:
    """Stands for a JSON boolean, which as a key of a dict would be the same as 1 or 0. There are two."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Truth({self.value})"

    def __reduce__(self) -> Any:
        return _truth, (self.value,)


def _truth(value: bool) -> Truth:
    return TRUE if value else FALSE


TRUE, FALSE = Truth(True), Truth(False)


def hashable(column: list[Any], kinds: set[type] | None = None) -> list[Any]:
    """A column of values that can be keys of a dict; lists are absent. `kinds`: those in it, where they are known."""
    if kinds is None:
        kinds = set(map(type, column))
    if list in kinds:
        column = [None if isinstance(value, list) else value for value in column]
    if bool in kinds:
        column = [value if type(value) is not bool else TRUE if value else FALSE for value in column]
    return column


def whole(column: list[Any], kinds: set[type] | None = None) -> list[Any]:
    """5.0 as 5: one value to people, and two to a sketch. `kinds`: those in it, where they are known."""
    if float not in (set(map(type, column)) if kinds is None else kinds):
        return column
    return [int(value) if type(value) is float and value.is_integer() else value for value in column]


def shown(value: Any) -> Any:
    """A key as it stands in an event."""
    return value.value if type(value) is Truth else value


def storable(value: Any) -> Any:
    """A key for msgpack."""
    if type(value) is int and value not in _SMALL:
        return msgspec.msgpack.Ext(_BIG_INT, str(value).encode())
    return shown(value)


def stored(value: Any) -> Any:
    """The inverse of `storable`; long texts, which were once stored whole, are cut."""
    if isinstance(value, msgspec.msgpack.Ext):
        return int(value.data)
    return _truth(value) if type(value) is bool else held(value)


def order(value: Any) -> tuple[str, Any]:
    """Sorts keys of all kinds, the same way wherever they came from."""
    value = shown(value)
    return ("number" if type(value) in (int, float) else type(value).__name__), value

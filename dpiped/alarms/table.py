"""A dict that knows what changed since it was saved last."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Table(Generic[Key, Value]):
    """Entries in the order in which their keys came first; changes in the order in which they happened."""

    __slots__ = ("_changed", "_entries")

    def __init__(self) -> None:
        self._entries: dict[Key, Value] = {}
        self._changed: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value of an entry; None if it is not there."""
        return self._entries.get(key)

    def values(self) -> ValuesView[Value]:
        """All values, in the order of the entries."""
        return self._entries.values()

    def items(self) -> ItemsView[Key, Value]:
        """All entries, in their order."""
        return self._entries.items()

    def put(self, key: Key, value: Value) -> None:
        """An entry that is new or another one."""
        self._entries[key] = value
        self._changed[key] = None

    def touch(self, key: Key) -> None:
        """The value of an entry was changed in its place."""
        self._changed[key] = None

    def drop(self, key: Key) -> None:
        """An entry that is there goes."""
        del self._entries[key]
        self._changed[key] = None

    def clear(self) -> None:
        """All go."""
        self._changed.update(dict.fromkeys(self._entries))
        self._entries.clear()

    def load(self, key: Key, value: Value) -> None:
        """An entry as it was saved."""
        self._entries[key] = value

    def changes(self) -> Iterator[tuple[Key, Value | None]]:
        """(key, value or None = gone) of what changed since the last call; each is settled when it is given."""
        for key in list(self._changed):  # to ask for the first each time would look over all that are gone
            del self._changed[key]
            yield key, self._entries.get(key)

"""Pieces of packs, for objects that get only some of a pack's events.

A pack may be spread over thousands of objects: its lines and columns are made once and shared by all its pieces, which
only know the places of their events in it. So memory and time grow with the events, not with the objects.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from dpiped.view import PackView


class Source:
    """A pack as a runner sees it, taken apart when somebody asks. Threads may ask at once: the same is made twice."""

    __slots__ = ("_columns", "_lines", "view")

    def __init__(self, view: PackView) -> None:
        self.view = view
        self._lines: dict[bool, list[bytes]] = {}
        self._columns: dict[str, Sequence[Any]] = {}

    def body(self, metadata: bool) -> bytes:
        """All events, one a line."""
        return self.view.body_with_metadata() if metadata else self.view.body

    def lines(self, metadata: bool) -> list[bytes]:
        """The same line by line, with their ends; shape (n_events,)."""
        lines = self._lines.get(metadata)
        if lines is None:
            lines = self._lines[metadata] = self.body(metadata).splitlines(keepends=True)
        return lines

    def column(self, name: str) -> Sequence[Any]:
        """The values of a field, shape (n_events,)."""
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self.view.column(name)
        return column


class Piece:
    """Those events of a pack that one object gets, in their order."""

    __slots__ = ("_places", "_source", "count")

    def __init__(self, source: Source, places: array[int] | None = None) -> None:
        """`places` of the events in the view, from 0; None: all of them."""
        self._source = source
        self._places = places
        self.count = source.view.count if places is None else len(places)

    def body(self, metadata: bool) -> bytes:
        """The events one a line, with `_host` and `_source` if that is wanted."""
        if self._places is None:
            return self._source.body(metadata)
        lines = self._source.lines(metadata)
        return b"".join([lines[place] for place in self._places])

    def column(self, name: str) -> Sequence[Any]:
        """The values of a field, shape (count,)."""
        column = self._source.column(name)
        return column if self._places is None else [column[place] for place in self._places]

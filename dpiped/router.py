"""Router: the table route -> readers that want it. On a commit it wakes those, and nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dpiped.journal.reader import Reader
from dpiped.pack import Route
from dpiped.projection import Projection

_MAX_ROUTES = 50_000
"""More idents than this and the tables start anew: a sender can invent idents without end."""


class Router:
    """Used on the event loop only."""

    def __init__(self) -> None:
        self._readers: dict[str, tuple[Reader, frozenset[str]]] = {}
        self._table: dict[Route, tuple[Reader, ...]] = {}
        self._projections: dict[Route, Projection] = {}

    def add(self, reader: Reader, fields: Iterable[str]) -> None:
        """A runner with the fields it reads."""
        self._readers[reader.name] = (reader, frozenset(fields))
        self._forget()

    def remove(self, name: str) -> None:
        self._readers.pop(name, None)
        self._forget()

    def _forget(self) -> None:
        self._table.clear()
        self._projections.clear()

    @property
    def readers(self) -> list[Reader]:
        return [reader for reader, _ in self._readers.values()]

    def readers_of(self, route: Route) -> tuple[Reader, ...]:
        """Who wants packs of this route; resolved once."""
        readers = self._table.get(route)
        if readers is None:
            if len(self._table) > _MAX_ROUTES:
                self._table.clear()
            readers = self._table[route] = tuple(reader for reader in self.readers if reader.wants(route))
        return readers

    def projection_of(self, route: Route) -> Projection:
        """The union of what all consumers of packs of this route read."""
        projection = self._projections.get(route)
        if projection is None:
            if len(self._projections) > _MAX_ROUTES:
                self._projections.clear()
            names = {reader.name for reader in self.readers_of(route)}
            fields = (fields for name, (_, fields) in self._readers.items() if name in names)
            projection = self._projections[route] = Projection.of(frozenset[str]().union(*fields))
        return projection

    def commit(self, routes: Sequence[tuple[int, Route]]) -> None:
        """(offset, route) of packs that became readable."""
        for offset, route in routes:
            for reader in self.readers_of(route):
                reader.wake(offset)

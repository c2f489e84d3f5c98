"""Some of the events of each group, to be shown with its alarm: the first ones of each pane.

Bounded: MOST of a group in a pane, none longer than LONGEST, and ROOM for all together; a group for which there is no
room has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dpiped.alarms.slices import Effort
from dpiped.alarms.table import Table
from dpiped.panes.shape import Key

MOST = 5
LONGEST = 2_048
"""Bytes of an event."""
ROOM = 8 << 20
"""Bytes of all samples of a filter."""

Place = tuple[int, Key]
"""(start of a pane, group)."""


class Samples:
    """Of one filter. Not task-safe."""

    def __init__(self, room: int = ROOM) -> None:
        self._most = self._room = room
        self._kept: Table[Place, list[bytes]] = Table()
        self._panes: dict[int, list[Key]] = {}
        """Start of a pane -> its groups that have samples."""

    @property
    def kept(self) -> Table[Place, list[bytes]]:
        """What is there, for the state."""
        return self._kept

    def wants(self, start: int, keys: Iterable[Key]) -> bool:
        """Whether a pane has not enough of one of these groups."""
        return any(len(self._kept.get((start, key)) or ()) < MOST for key in keys)

    def add(self, start: int, keys: Sequence[Key], lines: Sequence[bytes]) -> None:
        """Events of a pane, the group of each and its line; what is enough is left."""
        for key, line in zip(keys, lines, strict=True):
            known = self._kept.get((start, key))
            if len(line) > min(LONGEST, self._room) or (known is not None and len(known) >= MOST):
                continue
            if known is None:
                known = []
                self._panes.setdefault(start, []).append(key)
            known.append(line)
            self._room -= len(line)
            self._kept.put((start, key), known)

    def load(self, place: Place, lines: list[bytes]) -> None:
        """What was saved."""
        self._kept.load(place, lines)
        self._panes.setdefault(place[0], []).append(place[1])
        self._room -= sum(map(len, lines))

    def of(self, starts: Iterable[int], keys: Iterable[Key]) -> list[bytes]:
        """The samples of a group that has these names in these panes: of the newest panes, oldest first."""
        found: list[bytes] = []
        for place in reversed(list(zip(starts, keys, strict=True))):
            found = [*(self._kept.get(place) or ()), *found]
            if len(found) >= MOST:
                break
        return found[-MOST:]

    def drop(self, starts: Iterable[int]) -> Iterator[None]:
        """These panes are gone; others may run where it gives something."""
        effort = Effort()
        for start in starts:
            for key in self._panes.pop(start, ()):
                self._room += sum(map(len, self._kept.get((start, key)) or ()))
                self._kept.drop((start, key))
                if effort.add():
                    yield

    def clear(self) -> None:
        """All go."""
        self._kept.clear()
        self._panes.clear()
        self._room = self._most

    @property
    def panes(self) -> list[int]:
        """Starts of the panes of which there are samples."""
        return list(self._panes)

"""Silence: which groups did not send for too long. Time is counted in ticks, so a daemon that was down waits anew for
nobody, and what a group sent meanwhile is not late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dpiped.alarms.slices import ordered
from dpiped.alarms.store import key_bytes
from dpiped.alarms.table import Table
from dpiped.panes.shape import Key


class Watched(NamedTuple):
    """When a group was heard of last."""

    tick: int
    at_ms: int
    """Journaled time."""
    project: str


class Watch:
    """Of one filter. Not task-safe."""

    def __init__(self, silence_ticks: float, forget_ticks: float, most: int) -> None:
        self._silence_ticks = silence_ticks
        self._forget_ticks = forget_ticks
        self._most = most
        self._groups: Table[Key, Watched] = Table()

    @property
    def groups(self) -> Table[Key, Watched]:
        """Those that are waited for, for the state."""
        return self._groups

    def saw(self, keys: Iterable[Key], now: Watched) -> int:
        """Something came from these groups; returns how many of them cannot be watched, for lack of room."""
        over = 0
        for key in keys:
            if key in self._groups or len(self._groups) < self._most:
                self._groups.put(key, now)
            else:
                over += 1
        return over

    def silent(self, tick: int) -> Iterator[tuple[Key, Watched] | None]:
        """Groups of which nothing came for too long, in an order that no restart changes; those of which nothing came
        for very long are forgotten. None where others may run.
        """
        since, forgotten = tick - self._silence_ticks, tick - self._forget_ticks
        for found in ordered(self._groups.items(), lambda item: item[1].tick <= since, lambda item: key_bytes(item[0])):
            if found is None or found[1].tick > forgotten:
                yield found
            else:
                self._groups.drop(found[0])

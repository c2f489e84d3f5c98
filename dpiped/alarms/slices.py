"""Long work in slices, so that others may run in between. Where the slices are cut depends on what is worked on alone,
never on the clock, and nothing that is found depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

MANY = 1_000
"""So many events, groups or alarms are looked at before others may run: 1 to 4 ms."""
Entry = TypeVar("Entry")
_key = itemgetter(0)


class Effort:
    """Adds up what was done since others could run."""

    __slots__ = ("_done", "_most")

    def __init__(self, most: int = MANY) -> None:
        self._most = most
        self._done = 0

    def add(self, amount: int = 1) -> bool:
        """More was done; whether others may run now."""
        self._done += amount
        if self._done < self._most:
            return False
        self._done = 0
        return True


def ordered(
    entries: Iterable[Entry], wanted: Callable[[Entry], bool], key: Callable[[Entry], Any]
) -> Iterator[Entry | None]:
    """The wanted ones as `sorted` gives them, each with another key; None where others may run. All are looked at
    before the first is given: from then on the entries may change.
    """
    left = iter(entries)
    runs = []
    while some := list(islice(left, MANY)):
        runs.append(sorted([(key(entry), entry) for entry in some if wanted(entry)], key=_key))
        yield None
    for number, (_, entry) in enumerate(merge(*runs, key=_key), 1):
        yield entry
        if number % MANY == 0:
            yield None

"""Shares: which partitions a member of a group has, and which offset of each it wants next.

A partition goes on where the journal says, or where the group has committed to, whichever is further: what was
committed is durable in the journal of some member, so this neither loses nor doubles anything when a partition comes
from another daemon. Of what was fetched, only offsets at or above the wanted one count: what was fetched before a
rebalance and comes once more after it is taken once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dpiped.kafka.positions import Partition


class Start(NamedTuple):
    """Where a partition goes on."""

    offset: int
    gone: int = 0
    """So many messages before it are not there any more, and were not read."""
    anew: bool = False
    """The topic was made anew: it is shorter than what was read of it."""


def start_of(known: int | None, committed: int | None, low: int, high: int, *, at_end: bool) -> Start:
    """Where a partition goes on that was just assigned.

    Args:
        known: the next offset that the journal knows.
        committed: the next offset that the group has committed.
        low, high: of the partition now: its first offset, and the one after its last.
        at_end: whether a partition of which nothing is known is read from its end.
    """
    found = max((offset for offset in (known, committed) if offset is not None), default=None)
    if found is None:
        return Start(high if at_end else low)
    if found > high:
        return Start(low, anew=True)
    return Start(max(found, low), gone=max(0, low - found))


class Shares:
    """Used by one thread; other threads may look."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}

    def add(self, partition: Partition, offset: int) -> None:
        self._next[partition] = offset

    def remove(self, partition: Partition) -> None:
        self._next.pop(partition, None)

    def __contains__(self, partition: object) -> bool:
        return partition in self._next

    def __len__(self) -> int:
        return len(self._next)

    def all(self) -> dict[Partition, int]:
        """Partition -> the next offset that is wanted."""
        return dict(self._next)

    def pass_over(self, partition: Partition, end: int) -> bool:
        """All that was wanted below `end` has come; whether offsets are passed over that are no messages, as where a
        transaction ends.
        """
        if end <= self._next.get(partition, end):
            return False
        self._next[partition] = end
        return True

    def accept(self, partition: Partition, offsets: Sequence[int]) -> Sequence[int]:
        """Indexes of what is wanted of the offsets that were fetched, in the order they came."""
        wanted = self._next.get(partition)
        if wanted is None or not offsets:
            return ()
        if offsets[0] >= wanted and offsets[-1] - offsets[0] == len(offsets) - 1:
            self._next[partition] = offsets[-1] + 1
            return range(len(offsets))
        kept = []
        for index, offset in enumerate(offsets):
            if offset >= wanted:
                kept.append(index)
                wanted = offset + 1
        self._next[partition] = wanted
        return kept

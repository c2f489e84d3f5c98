"""The window: recent packs in memory, contiguous by offset, shared by all runners with what was decoded of them.

A pack leaves it when every runner that wants it has passed, or when the pool is over its budget: who lags that far
reads the segments by the same call (reader.py). Of all but the newest packs only the stored form is kept, so that a
runner that lags costs the others no memory that their processor caches would have to fetch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dpiped.pack import CACHE_HOLDER, Pack, PackPool

WHOLE_BYTES = 16 << 20
"""So much of the newest packs is kept with bodies and decoded events."""


class Window:
    """Used on the event loop only."""

    def __init__(self, pool: PackPool, first: int) -> None:
        self._pool = pool
        self._packs: deque[Pack] = deque()
        self._whole_from = first
        """From this offset on packs were not made smaller."""
        self._whole_bytes = 0
        self.base = first
        """Offset of the oldest pack in the window; all from here to `end` are there."""

    @property
    def end(self) -> int:
        return self.base + len(self._packs)

    def add(self, packs: Iterable[Pack]) -> None:
        """Packs that were just committed, already held under CACHE_HOLDER; what is over the budget leaves at once."""
        self._whole_from = max(self._whole_from, self.base)
        for pack in packs:
            self._packs.append(pack)
            self._whole_bytes += pack.size
        while self._whole_bytes > WHOLE_BYTES:
            pack = self._packs[self._whole_from - self.base]
            self._whole_from += 1
            self._whole_bytes -= pack.size
            self._pool.shrink(pack)
        while self._pool.over_budget and self._packs:
            self._drop()

    def get(self, offset: int) -> Pack:
        """The pack at an offset from `base` to `end`."""
        return self._packs[offset - self.base]

    def trim(self, low: int) -> None:
        """Lets go of everything below `low`, the smallest offset that a runner has not finished."""
        while self._packs and self.base < low:
            self._drop()

    def _drop(self) -> None:
        pack = self._packs.popleft()
        if self.base >= self._whole_from:
            self._whole_bytes -= pack.size
        self._pool.release(pack, CACHE_HOLDER)
        self.base += 1

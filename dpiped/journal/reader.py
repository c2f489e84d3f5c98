"""Reader: one runner's way through the journal, in order, from the window or from the segments by the same call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dpiped.pack import Pack, Route

if TYPE_CHECKING:
    from dpiped.journal.journal import Journal
    from dpiped.journal.record import Frame

READ_BYTES = 4 << 20
"""What a lagging runner reads from the segments at a time, compressed."""
LEAST_READ_BYTES = 64 << 10
TYPICAL_RATIO = 4
"""Stored bodies are about so much smaller; a read of more than a batch takes is cut, and read again."""
_MEMO_ROUTES = 50_000


class Reader:
    """Gives the packs that `matches`, each once; the caller says `passed` for each, in order.

    Used on the event loop only, by one task.
    """

    def __init__(self, journal: Journal, name: str, matches: Callable[[Route], bool], cursor: int) -> None:
        self._journal = journal
        self.name = name
        self._matches = matches
        self._memo: dict[Route, bool] = {}
        self._at = cursor
        self._behind = asyncio.Event()
        """Set while there may be something to pull from `_at` on."""
        if cursor < journal.next:
            self._behind.set()
        self._pulled: deque[Pack] = deque()

    def wants(self, route: Route) -> bool:
        """Whether packs of this route go to this runner; resolved once per route."""
        known = self._memo.get(route)
        if known is None:
            if len(self._memo) > _MEMO_ROUTES:
                self._memo.clear()
            known = self._memo[route] = self._matches(route)
        return known

    @property
    def cursor(self) -> int:
        """The first offset that is not finished."""
        if self._pulled:
            return self._pulled[0].head.offset
        return self._at if self._behind.is_set() else self._journal.next

    @property
    def behind(self) -> bool:
        """Whether there is something to read, or read and not passed."""
        return self._behind.is_set() or bool(self._pulled)

    @property
    def more(self) -> bool:
        """Whether there may be something to pull."""
        return self._behind.is_set()

    def wake(self, offset: int) -> None:
        """A wanted pack was committed."""
        if not self._behind.is_set():
            self._at = offset
            self._behind.set()

    async def wait(self) -> None:
        """Returns when there may be something to pull."""
        await self._behind.wait()

    async def pull(self, most_bytes: int, most_packs: int) -> list[Pack]:
        """The next wanted packs, at least one if there is any; empty when there is none now. Never waits for new
        ones.
        """
        window = self._journal.window
        if not self._behind.is_set():
            return []
        if self._at < window.base:
            packs = await self._pull_stored(most_bytes, most_packs)
            if packs:
                return packs
        return self._pull_recent(most_bytes, most_packs)

    def _pull_recent(self, most_bytes: int, most_packs: int) -> list[Pack]:
        window, pool = self._journal.window, self._journal.pool
        packs: list[Pack] = []
        size, offset = 0, max(self._at, window.base)
        while offset < window.end and len(packs) < most_packs and size < most_bytes:
            pack = window.get(offset)
            offset += 1
            if self.wants(pack.route):
                pool.hold(pack, self.name)
                packs.append(pack)
                size += pack.head.raw_bytes
        self._at = offset
        if offset >= window.end:
            self._behind.clear()
        self._pulled.extend(packs)
        return packs

    async def _pull_stored(self, most_bytes: int, most_packs: int) -> list[Pack]:
        journal = self._journal
        stored_bytes = min(max(most_bytes // TYPICAL_RATIO, LEAST_READ_BYTES), READ_BYTES)
        while self._at < journal.window.base:
            end = journal.next  # what the writer syncs meanwhile is not readable before it is announced
            found, at = await journal.read_stored(self._at, self.wants, stored_bytes)
            frames = [frame for frame in found if frame.head.offset < end]
            kept = _within(frames, most_bytes, most_packs)
            self._at = frames[kept].head.offset if kept < len(frames) else min(at, end)
            frames = frames[:kept]
            if frames:
                packs = [journal.pool.take(frame.head, frame.body, None, self.name) for frame in frames]
                self._pulled.extend(packs)
                if self._at >= journal.next:
                    self._behind.clear()
                return packs
        return []

    def passed(self, pack: Pack) -> None:
        """The runner has finished with the oldest pulled pack."""
        if self._pulled and self._pulled[0] is pack:
            self._pulled.popleft()
        self._journal.pool.release(pack, self.name)
        self._journal.trim()

    def rewind(self, cursor: int) -> None:
        """Lets go of everything that was pulled and goes on from `cursor`."""
        for pack in self._pulled:
            self._journal.pool.release(pack, self.name)
        self._pulled.clear()
        self._at = cursor
        if cursor < self._journal.next:
            self._behind.set()
        else:
            self._behind.clear()


def _within(frames: Sequence[Frame], most_bytes: int, most_packs: int) -> int:
    """How many of the frames a batch takes: it ends with the pack that reaches `most_bytes`, as in the window."""
    size = 0
    for number, frame in enumerate(frames):
        if number >= most_packs or size >= most_bytes:
            return number
        size += frame.head.raw_bytes
    return len(frames)

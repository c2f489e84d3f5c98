"""Gathers the frames of many peers into blocks, so that a thousand hosts that log a little make few full packs.

One consumer takes what has gathered while it was busy with the block before: under load blocks grow by themselves,
without load a frame waits a few milliseconds at most. Bounded: who may not lose anything (TCP) is told to pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from dpiped.codecs.framing import fold
from dpiped.pack import count_lines


class Block(NamedTuple):
    """Frames joined by newlines; `hosts` has the peer of each, shape (n_frames,).

    A frame stays one line: what is inside of it (octet-counted ones and datagrams may have newlines) is folded, see
    dpiped.codecs.framing.
    """

    data: bytes
    hosts: list[str]


class Gatherer:
    """For one event loop; any number of producers, one consumer.

    Args:
        as_line: makes one line of a frame that has newlines or NULs; others are not touched.
    """

    def __init__(self, block_bytes: int, room_bytes: int, as_line: Callable[[bytes], bytes] = fold) -> None:
        self._as_line = as_line
        self.block_bytes = block_bytes
        self.room_bytes = room_bytes
        self._lines: list[bytes] = []
        self._hosts: list[str] = []
        self._bytes = 0
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self.room = asyncio.Event()
        """Set while there is room: producers that can pause wait for it."""
        self.room.set()

    @property
    def full(self) -> bool:
        return self._bytes >= self.room_bytes

    def add(self, frames: list[bytes], host: str) -> None:
        """Takes frames; never refuses, so that a producer may finish what it has read. Check `full` before reading
        more.
        """
        joined = b"\n".join(frames)
        if count_lines(joined) != len(frames) - 1 or b"\0" in joined:
            frames = list(map(self._as_line, frames))
            joined = b"\n".join(frames)
        self._lines.append(joined)
        self._hosts += [host] * len(frames)
        self._bytes += len(joined) + 1
        self._some.set()
        if self._bytes >= self.block_bytes:
            self._enough.set()
        if self.full:
            self.room.clear()

    async def take(self, wait_secs: float) -> Block:
        """The next block: as soon as it is full, or so long after its first frame. Waits for a first frame without
        limit.
        """
        await self._some.wait()
        if not self._enough.is_set():
            try:
                async with asyncio.timeout(wait_secs):
                    await self._enough.wait()
            except TimeoutError:
                pass  # a block that is not full goes too
        lines, hosts = self._lines, self._hosts
        self._lines, self._hosts, self._bytes = [], [], 0
        self._some.clear()
        self._enough.clear()
        self.room.set()
        return Block(b"\n".join([*lines, b""]), hosts)

    @property
    def empty(self) -> bool:
        return not self._lines

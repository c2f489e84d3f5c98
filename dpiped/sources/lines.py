"""Whole lines from a pipe, socket, terminal or redirected file, in blocks."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator

BLOCK_BYTES = 1 << 20


class LineCutter:
    """Cuts a byte stream after newlines. Lines longer than `max_line_bytes` lose their rest, which is counted in
    `cut`.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self.cut = 0
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._skip = False

    def feed(self, data: bytes) -> bytes:
        """The whole lines that are complete now."""
        if self._skip:
            newline = data.find(b"\n")
            if newline < 0:
                return b""
            self._skip, data = False, data[newline + 1 :]
        end = data.rfind(b"\n") + 1
        if not end:
            return self._wait(data)
        whole = b"".join([*self._rest, data[:end]])
        self._rest, self._rest_bytes = [], 0
        return whole + self._wait(data[end:])

    def _wait(self, data: bytes) -> bytes:
        """Keeps an unfinished line; gives its beginning when it is too long."""
        if data:
            self._rest.append(data)
            self._rest_bytes += len(data)
        if self._rest_bytes <= self.max_line_bytes:
            return b""
        head = b"".join(self._rest)[: self.max_line_bytes]
        self._rest, self._rest_bytes, self._skip = [], 0, True
        self.cut += 1
        return head + b"\n"

    def finish(self) -> bytes:
        """The end was reached: an unfinished last line counts as a line."""
        rest = b"".join(self._rest)
        self._rest, self._rest_bytes = [], 0
        return rest + b"\n" if rest else b""


async def read_lines(fd: int, cutter: LineCutter, block_bytes: int = BLOCK_BYTES) -> AsyncIterator[bytes]:
    """Blocks of whole lines until the end. Reads only when asked for more, so a slow consumer slows the writer down.

    A pipe gives at most what its buffer holds (64 KiB); what arrived while the last block was handled comes as one.
    """
    mode = os.fstat(fd).st_mode
    plain = stat.S_ISREG(mode) or not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode))
    while True:
        data = await asyncio.to_thread(os.read, fd, block_bytes) if plain else await _read_ready(fd, block_bytes)
        if not data:
            break
        lines = cutter.feed(data)
        if lines:
            yield lines
    last = cutter.finish()
    if last:
        yield last


async def _read_ready(fd: int, block_bytes: int) -> bytes:
    """Waits until there is something, then reads without blocking; the descriptor's own mode is left alone (it is
    shared).
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except (OSError, ValueError):  # /dev/null and the like cannot be waited for, but never block either
        return os.read(fd, block_bytes)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
    return os.read(fd, block_bytes)

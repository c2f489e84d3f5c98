"""FileView: random reads of one file. Not by mmap: there a sector that cannot be read, or a file that somebody cuts,
ends the process by a signal; here it is an OSError, or fewer bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

BLOCK_BYTES = 4096
"""What small reads fetch at a time; also what a disk that fails is taken to lose at a time."""
FIND_BYTES = 256 << 10


class FileView:
    """A context manager; used by one thread. Raises OSError, also FileNotFoundError, when it is made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self._at = 0
        self._block = b""

    def __enter__(self) -> FileView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, at: int, length: int) -> bytes:
        """Bytes from `at` on; fewer at the end of the file. Raises OSError."""
        start = at - self._at
        if start >= 0 and start + length <= len(self._block):
            return self._block[start : start + length]
        if length >= BLOCK_BYTES:
            return self._fetch(at, length)
        self._at, self._block = at, self._fetch(at, BLOCK_BYTES)
        return self._block[:length]

    def _fetch(self, at: int, length: int) -> bytes:
        data = os.pread(self._fd, length, at)
        while 0 < len(data) < length and (more := os.pread(self._fd, length - len(data), at + len(data))):
            data += more
        return data

    def find(self, pattern: bytes, at: int) -> int:
        """The first place of a short pattern at or after `at`; -1 if there is none. What cannot be read is passed
        over.
        """
        step = FIND_BYTES
        while at < self.size:
            try:
                data = self._fetch(at, step)
            except OSError:
                if step > BLOCK_BYTES:
                    step = BLOCK_BYTES
                else:
                    at = (at // BLOCK_BYTES + 1) * BLOCK_BYTES
                continue
            found = data.find(pattern)
            if found >= 0:
                return at + found
            if len(data) < len(pattern):
                return -1
            at += len(data) - len(pattern) + 1
        return -1


class BytesView(FileView):
    """The same of bytes that were read already."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.size = len(data)
        self._data = data

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def read(self, at: int, length: int) -> bytes:
        return self._data[at : at + length]

    def find(self, pattern: bytes, at: int) -> int:
        return self._data.find(pattern, at)

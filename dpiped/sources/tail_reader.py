"""Bytes of a file by place, plain or decompressed."""

from __future__ import annotations

import os

from dpiped import gzip
from dpiped.sources.tail_scan import key_of

_PIECE_BYTES = 64 << 10
"""Decompressed at a time: what stands in one piece with the damage is lost."""


class PlainReader:
    """Bytes of a file by place."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.key = key_of(os.fstat(self.fd))

    def pread(self, size: int, at: int) -> bytes:
        """As many bytes as there are, at most `size`."""
        return os.pread(self.fd, size, at)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def signature(self) -> tuple[int, int]:
        """(size, mtime in nanoseconds): changes when the content does."""
        status = os.fstat(self.fd)
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        os.close(self.fd)


class GzipReader(PlainReader):
    """Decompressed bytes of a file that does not change; reading backwards further than the last block costs a
    rewind.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._raw = os.fdopen(os.dup(self.fd), "rb")
        self._stream = gzip.unpacked(self._raw)
        self._start, self._window = 0, b""
        self.damaged = False

    def pread(self, size: int, at: int) -> bytes:
        if not self._start <= at <= self._start + len(self._window):
            try:
                self._stream.seek(at)
            except (EOFError, OSError, gzip.GzipError):  # it ends before, for it is still being written
                self.damaged = True
                return b""
            self._start, self._window = at, b""
        have = bytearray(self._window[at - self._start :])
        while len(have) < size and not self.damaged:
            try:
                more = self._stream.read1(min(size - len(have), _PIECE_BYTES))
            except (EOFError, OSError, gzip.GzipError):
                self.damaged = True
                break
            if not more:
                break
            have += more
        self._start, self._window = at, bytes(have)
        return self._window[:size]

    def size(self) -> int:
        while self.pread(1 << 20, self._start + len(self._window)):
            pass
        return self._start + len(self._window)

    def close(self) -> None:
        self._stream.close()
        self._raw.close()
        super().close()


def open_reader(path: str) -> PlainReader:
    """Raises OSError. A name that ends in .gz and bytes that begin like gzip make a gzip file."""
    reader = PlainReader(path)
    if path.endswith(".gz") and reader.pread(2, 0) == b"\x1f\x8b":
        reader.close()
        return GzipReader(path)
    return reader

"""Streams of files whatever they are packed by: gzip, zstd, bzip2 and xz are known by their first bytes, not by names.

Reads no more of the file than it had at the start, so that one that grows is read to where it was then.
"""

from __future__ import annotations

import bz2
import io
import lzma
from collections.abc import Callable
from typing import Any, Protocol

import zstandard

from dpiped import gzip
from dpiped.errors import DpipeError

BLOCK_BYTES = 128 << 10
"""Packed bytes that are read at once."""


class DamagedFileError(DpipeError):
    """What follows in the file cannot be read; all before it was given."""


def _zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()


MAGIC: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", gzip.unpacker),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    *((bytes([first]) + b"\x2a\x4d\x18", _zstd) for first in range(0x50, 0x60)),  # a frame to skip, as pzstd writes
)
_ERRORS = (gzip.GzipError, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError)


class Readable(Protocol):
    """A file that is read from its begin to its end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end."""

    def close(self) -> None: ...


class Bounded(io.RawIOBase):
    """The first `size` bytes of a file; `taken` of them were read."""

    def __init__(self, file: Readable, size: int) -> None:
        self._file = file
        self._size = size
        self.taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        left = self._size - self.taken
        data = self._file.read(left if size < 0 else min(size, left))
        self.taken += len(data)
        return data


class Unpacked(io.RawIOBase):
    """What is packed in a stream, one frame or member after the other."""

    def __init__(self, source: Bounded | Unpacked, first: bytes, make: Callable[[], Any]) -> None:
        self._source = source
        self._input = first
        self._make = make
        self._frame: Any = None
        self._failed: DamagedFileError | None = None
        """Of the source; raised when all before it was unpacked."""
        self._output = b""
        self._at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, empty at the end. Raises DamagedFileError."""
        while self._at >= len(self._output):
            if not self._more():
                return b""
        end = len(self._output) if size < 0 else self._at + size
        data = self._output[self._at : end]
        self._at += len(data)
        return data

    def _fill(self) -> None:
        """The head of a member comes in one piece: the library for gzip reads some that are cut wrongly."""
        try:
            while len(self._input) < BLOCK_BYTES and (more := self._source.read(BLOCK_BYTES)):
                self._input += more
        except DamagedFileError as exc:
            self._failed = exc

    def _more(self) -> bool:
        """Unpacks a little; False at the end."""
        if not self._input:
            if self._failed is not None:
                raise self._failed
            self._input = self._source.read(BLOCK_BYTES)
            if not self._input:
                if self._frame is not None:
                    raise DamagedFileError("it is cut off in the middle")
                return False
        if self._frame is None:
            if not self._input.strip(b"\0"):  # padding, as some tools write it
                self._input = b""
                return True
            self._fill()
            self._frame = self._make()
        try:
            self._output, self._at = self._frame.decompress(self._input), 0
        except _ERRORS as exc:
            raise DamagedFileError(f"it is damaged: {exc}") from exc
        self._input = b""
        if self._frame.eof:
            self._input, self._frame = self._frame.unused_data, None
        return True


Stream = Bounded | Unpacked


class Peeked(io.RawIOBase):
    """A stream whose first bytes can be looked at."""

    def __init__(self, source: Stream) -> None:
        self._source = source
        self._first = b""
        self._failed: DamagedFileError | None = None
        """Met while it was looked at; raised when all before it was read."""

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        while len(self._first) < size and self._failed is None:
            try:
                more = self._source.read(size - len(self._first))
            except DamagedFileError as exc:
                self._failed = exc
                break
            if not more:
                break
            self._first += more
        return self._first

    def read(self, size: int = -1) -> bytes:
        if not self._first:
            if self._failed is not None:
                raise self._failed
            return self._source.read(size)
        end = len(self._first) if size < 0 else size
        data, self._first = self._first[:end], self._first[end:]
        return data


def unpacked(source: Stream) -> Peeked:
    """The stream, unpacked if it is packed by something that is known; layer by layer."""
    stream: Stream = source
    for _ in range(3):
        look = Peeked(stream)
        first = look.peek(6)
        make = next((make for magic, make in MAGIC if first.startswith(magic)), None)
        if make is None:
            return look
        stream = Unpacked(stream, first, make)
    return Peeked(stream)

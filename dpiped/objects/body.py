"""The bytes of an object: the same events give the same bytes, and little of them is in memory.

An object is made in a temporary file without a name (small ones stay in memory), so nothing is left of it after a
crash.
"""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from dpiped.objects.keys import Partition

IN_MEMORY_BYTES = 4 << 20
_CHUNK = 1 << 20
ZSTD_LEVEL = 3


@dataclass(slots=True)
class Body:
    """What is sent: a file at its begin, its size, and what the store checks it by."""

    file: IO[bytes]
    size: int
    crc32: int

    def close(self) -> None:
        self.file.close()


def spooled(write: Callable[[IO[bytes]], None], folder: Path | None) -> Body:
    """Has a file written in `folder` (None: where the system wants it). Blocking. Raises OSError."""
    where = None if folder is None else str(folder)
    file: Any = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=where)  # noqa: SIM115 - it is given away open
    try:
        write(file)
        size, crc = file.tell(), 0
        file.seek(0)
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Body(file, size, crc)


def bytes_body(data: bytes) -> Body:
    """A small one that is in memory."""
    return Body(io.BytesIO(data), len(data), zlib.crc32(data))


def write_ndjson(file: IO[bytes], partition: Partition, *, compression: str, gzip_level: int, metadata: bool) -> None:
    """The events one a line. gzip without a time in it, zstd on one thread: both give the same bytes again."""
    bodies = (piece.body(metadata) for piece in partition.pieces)
    if compression == "none":
        file.writelines(bodies)
        return
    compressor: Any = (
        zlib.compressobj(gzip_level, zlib.DEFLATED, 31)
        if compression == "gzip"
        else zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    )
    _compressed(file, bodies, compressor)


def _compressed(file: IO[bytes], bodies: Iterable[bytes], compressor: Any) -> None:
    for body in bodies:
        file.write(compressor.compress(body))
    file.write(compressor.flush())

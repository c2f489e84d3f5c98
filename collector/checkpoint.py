"""checkpoint.json: where every stream and input stands. Version 1.

    {"version": 1,
     "streams": [{"id": .., "seq": n, "batch": null | {"seq", "nonce", "endpoint", "ranges": [Range, ..]}}, ..],
     "inputs": {NAME: text, ..}}

A batch stands here, synced, before it is first sent, and until it is settled. `inputs` says what was settled: for
files a text as `Positions` writes it, for a spool the next offset. Written to a temporary file, synced, renamed, the
folder synced.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from dpiped.crashpoint import crash_point
from dpiped.errors import DpipeError
from dpiped.sources.tail_marks import FileMark

VERSION = 1


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one frame of a batch was made from, so that it can be made again."""

    input: str
    project: str
    ident: str
    source: str
    codec: str
    start: int
    end: int
    """Bytes in the file, or offsets in the spool; half-open."""
    crc: int = 0
    """CRC-32 of the bytes of the file."""
    mark: FileMark | None = None
    """The file after the range; None: the range is one of the spool."""
    gone: bool = False
    """After the range the file is forgotten."""


class SavedBatch(msgspec.Struct, frozen=True):
    """A batch that was sent, or may have been."""

    seq: int
    nonce: str
    endpoint: str
    ranges: list[Range]


class Stream(msgspec.Struct):
    """One lane. The id is random, made with the checkpoint, so a copy of the folder is found out by the daemon
    (409).
    """

    id: str
    seq: int = 0
    """Number of the last batch that was begun."""
    batch: SavedBatch | None = None


class _Stored(msgspec.Struct):
    version: int
    streams: list[Stream]
    inputs: dict[str, str]


class Checkpoint:
    """The state in memory, and its file. With `path` None (`send`) nothing is stored."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.streams: list[Stream] = []
        self.inputs: dict[str, str] = {}
        """As loaded."""
        self.providers: dict[str, Callable[[], str]] = {}
        """Input -> what tells its state at the moment of writing."""
        self._wanted = 0
        self._written = 0
        self._lock = asyncio.Lock()

    def load(self, parallel: int) -> None:
        """Reads the file, if there is one, and makes sure that there are `parallel` streams. Raises DpipeError."""
        if self.path is not None and self.path.exists():
            try:
                stored = msgspec.json.decode(self.path.read_bytes(), type=_Stored)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                raise DpipeError(
                    f"{self.path} cannot be read ({exc}): move it away, then all files are read from their start"
                ) from exc
            if stored.version != VERSION:
                raise DpipeError(f"{self.path} has version {stored.version}: written by a newer dpipe-collector")
            self.streams, self.inputs = stored.streams, stored.inputs
        while len(self.streams) < parallel:
            self.streams.append(Stream(secrets.token_hex(8)))

    def encode(self) -> bytes:
        """The file as it would be written now. An input that left the config keeps what it had."""
        told = {name: provider() for name, provider in self.providers.items()}
        return msgspec.json.encode(_Stored(VERSION, self.streams, {**self.inputs, **told}))

    async def save(self) -> None:
        """Returns when the state at the time of the call, or a later one, is on disk. Raises OSError.

        Calls that come while one is written share the next write.
        """
        self._wanted += 1
        mine = self._wanted
        async with self._lock:
            if self._written >= mine or self.path is None:
                return
            covered = self._wanted
            await asyncio.to_thread(write_synced, self.path, self.encode())
            self._written = covered


def write_synced(path: Path, data: bytes) -> None:
    """Replaces a file so that a crash leaves the old one or the new one, whole."""
    temporary = path.with_suffix(".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    crash_point("checkpoint.written")
    temporary.replace(path)
    crash_point("checkpoint.renamed")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

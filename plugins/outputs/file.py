"""Output `file`: appends events to files, one event a line.

Delivery: exactly once. Path, inode and size of each file are saved before its first append and with every cursor; after a crash
files are cut back to what the cursor says. A file that somebody replaced is never cut, only reported.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import zstandard
from pydantic import AfterValidator, Field

from dpiped.api import (
    Batch,
    Bytes,
    LostTrackError,
    Output,
    PackView,
    PathTemplate,
    PluginConfig,
    Secs,
    TemporaryError,
    check_path_template,
    register,
)


class FileConfig(PluginConfig):
    path: Annotated[str, AfterValidator(check_path_template)] = Field(
        examples=["var/out/{project}/{ident}/%Y-%m-%d.ndjson"])
    """Where events go: `{project}`, `{ident}`, `{host}` and strftime codes in UTC; folders are made."""
    time: Literal["accepted", "event"] = "accepted"
    """Whether strftime codes mean the time of acceptance, or that of each event."""
    compression: Literal["none", "gzip", "zstd"] = "none"
    """How files are compressed; the path should end in .gz or .zst then. Readable up to the last flush."""
    rotate_bytes: Bytes = 0
    """A file of this size is followed by one with `.1`, `.2`, .. behind its name; 0: never."""
    rotate_secs: Secs = 0.0
    """A file open for so long is followed by the next number; 0: never."""
    fsync: bool = True
    """Files are synced before a cursor is saved. Without it a power failure can lose lines; a crash of dpiped cannot."""
    max_open_files: Annotated[int, Field(gt=0)] = 256
    """More files than these are closed, longest unused first."""


class _File:
    """One open file; `size` is what is written, `committed` what a saved cursor knows."""

    def __init__(self, path: str, compression: str) -> None:
        self.path = path
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        self.is_new = not Path(path).exists()
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        stat = os.fstat(self.fd)
        self.inode, self.size = stat.st_ino, stat.st_size
        self.opened = time.monotonic()
        self.dirty = False
        self._compression = compression
        self._compressor: Any = None

    def append(self, pieces: list[bytes]) -> None:
        """Raises OSError after taking back what a plain file got; a compressed one cannot be taken back in part."""
        self.dirty = True
        data = pieces if self._compression == "none" else [self._compress(piece) for piece in pieces]
        try:
            self._write(b"".join(data) if len(data) > 1 else data[0])
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]
        self.size += len(data)

    def _compress(self, data: bytes) -> bytes:
        if self._compressor is None:
            self._compressor = (zlib.compressobj(6, zlib.DEFLATED, 31) if self._compression == "gzip"
                                else zstandard.ZstdCompressor(level=3).compressobj())
        return bytes(self._compressor.compress(data))

    def end_frame(self) -> None:
        """Ends the gzip member or zstd frame, so that the size is a place to go on from."""
        if self._compressor is not None:
            self._write(self._compressor.flush())
            self._compressor = None

    def close(self) -> None:
        os.close(self.fd)


@register("file")
class FileOutput(Output[FileConfig]):
    @classmethod
    def exclusive(cls, config: FileConfig) -> str | None:
        return f"path {config.path!r}"

    async def open(self, saved: bytes | None) -> None:
        self._template = PathTemplate(self.config.path)
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._numbers: dict[str, int] = {}
        self._committed: dict[str, tuple[int, int]] = msgspec.msgpack.decode(saved, type=dict[str, tuple[int, int]]) \
            if saved else {}
        await asyncio.to_thread(self._cut_back)

    def _cut_back(self) -> None:
        """Files are made what the saved cursor says."""
        for path, (inode, size) in self._committed.items():
            try:
                stat = os.stat(path)
                if stat.st_ino != inode:
                    self.context.telemetry.say("file was replaced: left as it is", plugin=self.context.name, detail=path)
                elif stat.st_size < size:
                    self.context.telemetry.say("file is shorter than it was left", plugin=self.context.name, detail=path)
                elif stat.st_size > size:
                    _truncate(path, size)
            except FileNotFoundError:
                self.context.telemetry.say("file is gone", plugin=self.context.name, detail=path)
            except OSError as exc:
                raise TemporaryError(f"cut {path} back to {size} bytes") from exc

    # ---- write -----------------------------------------------------------------------------------------------------
    async def write(self, batch: Batch) -> None:
        jobs: dict[str, list[bytes]] = {}
        for view, body in zip(batch.views, batch.bodies, strict=True):
            for path, piece in self._route(view, body):
                jobs.setdefault(path, []).append(piece)
        try:
            if not all(path in self._files and path in self._committed for path in jobs):
                await self._announce(jobs)
            await asyncio.to_thread(self._append, jobs)
        except OSError as exc:
            await self._recover(exc)

    def _route(self, view: PackView, body: bytes) -> Iterable[tuple[str, bytes]]:
        """(path, events for it) of a pack."""
        head, template = view.head, self._template
        if self.config.time == "accepted" or not template.has_time:
            return [(self._numbered(template.render(head, head.accepted_ms)), body)]
        first, last = template.render(head, head.min_ts), template.render(head, head.max_ts)
        if first == last and template.is_monotonic:
            return [(self._numbered(first), body)]
        stamps = view.column("@timestamp")
        found: dict[str, list[bytes]] = {}
        for stamp, line in zip(stamps, body.splitlines(keepends=True), strict=True):
            at = stamp if isinstance(stamp, int) else head.accepted_ms
            found.setdefault(template.render(head, at), []).append(line)
        return [(self._numbered(path), b"".join(lines)) for path, lines in found.items()]

    def _numbered(self, path: str) -> str:
        """The path with the number that rotation has come to."""
        number = self._numbers.get(path, 0)
        if self.config.rotate_bytes or self.config.rotate_secs:
            while True:
                current = f"{path}.{number}" if number else path
                if not self._is_over(current):
                    break
                number += 1
            self._numbers[path] = number
            return current
        return path

    def _is_over(self, path: str) -> bool:
        file = self._files.get(path)
        size = file.size if file is not None else _size(path)
        old = file is not None and self.config.rotate_secs and time.monotonic() - file.opened > self.config.rotate_secs
        return bool(old) or bool(self.config.rotate_bytes and size >= self.config.rotate_bytes)

    async def _announce(self, paths: Iterable[str]) -> None:
        """Opens files, and has path, inode and size of new ones saved before anything is appended to them."""
        await asyncio.to_thread(self._open_files, paths)
        new = {path: (self._files[path].inode, self._files[path].size) for path in paths if path not in self._committed}
        if new:
            self._committed |= new
            await self.context.save_state(self._encode_committed())

    def _open_files(self, paths: Iterable[str]) -> None:
        """A file that is made here has its name synced, before anything in it counts."""
        folders: set[Path] = set()
        for path in paths:
            if path not in self._files:
                file = self._files[path] = _File(path, self.config.compression)
                if file.is_new:
                    folders.add(Path(path).parent)
        for folder in folders:
            _sync_folder(folder)

    def _append(self, jobs: dict[str, list[bytes]]) -> None:
        """All of it or, when it raises OSError, nothing (of plain files)."""
        done: list[tuple[_File, int]] = []
        for path, pieces in jobs.items():
            file = self._files[path]
            self._files.move_to_end(path)
            size = file.size
            try:
                file.append(pieces)
            except OSError:
                for other, old_size in done:
                    os.ftruncate(other.fd, old_size)
                    other.size = old_size
                raise
            done.append((file, size))

    async def _recover(self, exc: OSError) -> None:
        """Plain files are as before the batch; compressed ones have to be made anew from the saved cursor."""
        text = f"write to {exc.filename or self.config.path}: {exc.strerror}"
        if self.config.compression != "none":
            raise LostTrackError(text) from exc
        raise TemporaryError(text) from exc

    # ---- cursor ----------------------------------------------------------------------------------------------------
    async def flush(self) -> None:
        try:
            await asyncio.to_thread(self._flush)
        except OSError as exc:
            raise LostTrackError(f"flush {exc.filename or self.config.path}: {exc.strerror}") from exc

    def _flush(self) -> None:
        for file in self._files.values():
            if file.dirty:
                file.end_frame()
                if self.config.fsync:
                    os.fsync(file.fd)
                file.dirty = False
                self._committed[file.path] = (file.inode, file.size)
        while len(self._files) > self.config.max_open_files:
            path, file = self._files.popitem(last=False)
            file.close()
        self._committed = {path: place for path, place in self._committed.items() if path in self._files}

    def saved(self) -> bytes | None:
        return self._encode_committed()

    def _encode_committed(self) -> bytes:
        return msgspec.msgpack.encode(self._committed)

    def status(self) -> dict[str, object]:
        return {"open_files": len(self._files)}

    async def close(self) -> None:
        for file in getattr(self, "_files", {}).values():
            file.close()


def _truncate(path: str, size: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

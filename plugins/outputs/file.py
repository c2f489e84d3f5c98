"""Output `file`: appends events to files, one event a line.

Delivery: exactly once. Path, inode and size of each file are saved before its first append and with every cursor;
after a crash files are cut back to what the cursor says. A file that somebody replaced is never cut, only reported; one
that another output writes is not touched, and the output waits until it has it alone.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterable
from logging import INFO, WARNING
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import zstandard
from pydantic import AfterValidator, Field

from dpiped.api import (
    Batch,
    Bytes,
    Claims,
    LostTrackError,
    Output,
    PackView,
    PathTemplate,
    PluginConfig,
    Secs,
    TemporaryError,
    check_path_template,
    finish_in_thread,
    make_folder,
    register,
    sync_folder,
    write_all,
)


class FileConfig(PluginConfig):
    path: Annotated[str, AfterValidator(check_path_template)] = Field(
        examples=["var/out/{project}/{ident}/%Y-%m-%d.ndjson"]
    )
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
    """Files are synced before a cursor is saved. Without it a power failure can lose lines; a crash cannot."""
    max_open_files: Annotated[int, Field(gt=0)] = 256
    """No more files than these are open at a time; the longest unused are closed."""


class _File:
    """One open file; `size` is what is written, `committed` what a saved cursor knows."""

    def __init__(self, path: str, compression: str) -> None:
        self.path = path
        make_folder(Path(path).parent)
        self.is_new = not Path(path).exists()
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        stat = os.fstat(self.fd)
        self.inode, self.size = stat.st_ino, stat.st_size
        self.opened = time.monotonic()
        self.dirty = False
        self._compression = compression
        self._compressor: Any = None

    def append(self, pieces: list[bytes]) -> None:
        """Raises OSError when part of it, or nothing, was written."""
        self.dirty = True
        self._write(pieces if self._compression == "none" else [self._compress(piece) for piece in pieces])

    def cut(self, size: int) -> None:
        """Takes back what was appended since it had this size; of plain files only."""
        os.ftruncate(self.fd, size)
        self.size = size

    def is_in_place(self) -> bool:
        """Whether its path still leads to it."""
        try:
            return Path(self.path).stat().st_ino == self.inode
        except FileNotFoundError:
            return False

    def _write(self, pieces: list[bytes]) -> None:
        self.size += write_all(self.fd, pieces)

    def _compress(self, data: bytes) -> bytes:
        if self._compressor is None:
            self._compressor = (
                zlib.compressobj(6, zlib.DEFLATED, 31)
                if self._compression == "gzip"
                else zstandard.ZstdCompressor(level=3).compressobj()
            )
        return bytes(self._compressor.compress(data))

    def end_frame(self) -> None:
        """Ends the gzip member or zstd frame, so that the size is a place to go on from."""
        if self._compressor is not None:
            self._write([self._compressor.flush()])
            self._compressor = None

    def close(self) -> None:
        os.close(self.fd)


@register("file")
class FileOutput(Output[FileConfig]):
    @classmethod
    def exclusive(cls, config: FileConfig) -> str | None:
        return f"path {os.path.normpath(config.path)!r}"

    async def open(self, saved: bytes | None) -> None:
        self._template = PathTemplate(self.config.path)
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._numbers: dict[str, int] = {}
        self._claims = Claims((self.context.data_dir, self.context.name))
        self._lost_track = False
        """Part of a batch may be in the files, and no cursor will know of it."""
        self._left: dict[str, tuple[int, int]] = {}
        """path -> (inode, size) of files that were closed since the last flush."""
        self._committed: dict[str, tuple[int, int]] = (
            msgspec.msgpack.decode(saved, type=dict[str, tuple[int, int]]) if saved else {}
        )
        await asyncio.to_thread(self._cut_back)

    def _cut_back(self) -> None:
        """Files are made what the saved cursor says."""
        for path, (inode, size) in self._committed.items():
            try:
                stat = Path(path).stat()
                if stat.st_ino != inode:
                    self._say("file was replaced: left as it is", path)
                    continue
                self._claim(path, stat)
                if stat.st_size < size:
                    self._say("file is shorter than it was left", path)
                elif stat.st_size > size:
                    _truncate(path, size)
                    behind = f"{path}: {stat.st_size - size} bytes"
                    self._say("file is cut back to what was saved; what was not saved comes again", behind, INFO)
            except FileNotFoundError:
                self._say("file is gone", path)
            except OSError as exc:
                raise TemporaryError(f"cut {path} back to {size} bytes") from exc

    def _claim(self, path: str, stat: os.stat_result) -> None:
        other = self._claims.claim(path, stat)
        if other is not None:
            raise TemporaryError(f"{path} is written by the output {other!r} too: give each of them files of its own")

    def _say(self, text: str, detail: str, level: int = WARNING) -> None:
        self.context.telemetry.say(text, plugin=self.context.name, detail=detail, level=level)

    # ---- write -----------------------------------------------------------------------------------------------------
    async def write(self, batch: Batch) -> None:
        jobs: dict[str, list[bytes]] = {}
        try:
            for view, body in zip(batch.views, batch.bodies, strict=True):
                for path, piece in self._route(view, body):
                    jobs.setdefault(path, []).append(piece)
            paths, most = list(jobs), self.config.max_open_files
            for at in range(0, len(paths), most):
                await self._write_some({path: jobs[path] for path in paths[at : at + most]}, begun=at > 0)
        except OSError as exc:
            text = f"write to {exc.filename or self.config.path}: {exc.strerror}"
            raise (LostTrackError if self._lost_track else TemporaryError)(text) from exc
        except asyncio.CancelledError:
            self._lost_track = True
            raise

    async def _write_some(self, jobs: dict[str, list[bytes]], *, begun: bool) -> None:
        """So many files as may be open at a time. `begun`: a part of the batch is in other files already."""
        self._lost_track = begun
        if not all(path in self._files and path in self._committed for path in jobs):
            await self._announce(jobs)
        await finish_in_thread(self._append, jobs, begun)

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
        if not self.config.rotate_bytes and not self.config.rotate_secs:
            return path
        number = self._numbers.get(path)
        if number is None:  # the newest that is there goes on
            number = 0
            while Path(f"{path}.{number + 1}").exists():
                number += 1
        while self._is_over(current := f"{path}.{number}" if number else path):
            number += 1
        self._numbers[path] = number
        return current

    def _is_over(self, path: str) -> bool:
        file = self._files.get(path)
        size = file.size if file is not None else _size(path)
        old = file is not None and self.config.rotate_secs and time.monotonic() - file.opened > self.config.rotate_secs
        return bool(old) or bool(self.config.rotate_bytes and size >= self.config.rotate_bytes)

    async def _announce(self, paths: Collection[str]) -> None:
        """Opens files, and has path, inode and size saved, where they are not, before anything is appended to them."""
        await finish_in_thread(self._make_room, paths)
        opened = await finish_in_thread(self._open_files, paths)
        new = {file.path: (file.inode, file.size) for file in opened if file.path not in self._left}
        if any(self._committed.get(path) != place for path, place in new.items()):
            self._committed |= new
            await self.context.save_state(self._encode_committed())

    def _make_room(self, paths: Collection[str]) -> None:
        """Closes the longest unused files, so that those of `paths` can be opened too."""
        new = len(paths) - sum(path in self._files for path in paths)
        for path in [path for path in self._files if path not in paths]:
            if len(self._files) + new <= self.config.max_open_files:
                return
            file = self._files.pop(path)
            try:
                self._settle(file)
                self._left[path] = (file.inode, file.size)
            finally:
                file.close()

    def _open_files(self, paths: Iterable[str]) -> list[_File]:
        """A file that is made here has its name synced, before anything in it counts."""
        opened: list[_File] = []
        try:
            for path in paths:
                if path not in self._files:
                    opened.append(_File(path, self.config.compression))
                    self._claim(path, os.fstat(opened[-1].fd))
            for folder in {Path(file.path).parent for file in opened if file.is_new}:
                sync_folder(folder)
        except (OSError, TemporaryError):
            for file in opened:
                file.close()
            raise
        self._files |= {file.path: file for file in opened}
        return opened

    def _append(self, jobs: dict[str, list[bytes]], begun: bool) -> None:
        """All of it or, when it raises OSError, nothing (of plain files)."""
        self._lost_track = True
        done: list[tuple[_File, int]] = []
        try:
            for path, pieces in jobs.items():
                file = self._files[path]
                self._files.move_to_end(path)
                done.append((file, file.size))
                file.append(pieces)
        except OSError:
            if self.config.compression == "none":  # what a compressor has taken cannot be taken back
                for file, size in done:
                    file.cut(size)
                self._lost_track = begun
            raise
        self._lost_track = False

    # ---- cursor ----------------------------------------------------------------------------------------------------
    async def flush(self) -> None:
        if self._lost_track:
            raise LostTrackError("stopped in the middle of a batch")
        try:
            await finish_in_thread(self._flush)
        except OSError as exc:
            raise LostTrackError(f"flush {exc.filename or self.config.path}: {exc.strerror}") from exc

    def _flush(self) -> None:
        for file in self._files.values():
            if file.dirty or file.path in self._left:  # it may have been closed and opened again
                self._settle(file)
                self._committed[file.path] = (file.inode, file.size)
        for file in [file for file in self._files.values() if not file.is_in_place()]:
            self._say("file was moved or removed: a new one is begun", file.path)
            self._files.pop(file.path).close()
        kept = {path: place for path, place in self._committed.items() if path in self._files}
        self._committed = self._left | kept
        self._left = {}
        self._claims.keep(set(self._committed))

    def _settle(self, file: _File) -> None:
        """What was appended is durable, and its end is a place to go on from."""
        if file.dirty:
            file.end_frame()
            if self.config.fsync:
                os.fsync(file.fd)
            file.dirty = False

    def saved(self) -> bytes | None:
        return self._encode_committed()

    def _encode_committed(self) -> bytes:
        return msgspec.msgpack.encode(self._committed)

    def status(self) -> dict[str, object]:
        return {"open_files": len(self._files)}

    async def close(self) -> None:
        for file in getattr(self, "_files", {}).values():
            file.close()
        if hasattr(self, "_claims"):
            self._claims.keep(set())


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

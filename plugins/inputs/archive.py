"""Input `archive`: reads files of history, also those in buckets of S3, to their end, packed or not, and ends.

Delivery: every line enters the journal once; how far each file was read is stored in one write with its events. When
all files are read and no other input is left, the daemon delivers everything and stops: with exit status 4 when some
could not be read to their end; those are tried again at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any, ClassVar

from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from dpiped.api import (
    ArchivePath,
    ArchivePlaces,
    Bytes,
    DamagedFileError,
    Emit,
    FatalPluginError,
    Host,
    Input,
    Lines,
    Plan,
    PluginConfig,
    Reader,
    S3AccessConfig,
    Spot,
    Workers,
    is_in_bucket,
    register,
)

OPEN_SECS = 5.0
"""A daemon that starts hears no stop: when looking for files takes longer than that, it goes on while it runs."""
TOLD_FILES = 20
"""Files that cannot be read are named in the log one by one up to so many."""


class ArchiveConfig(PluginConfig):
    paths: tuple[ArchivePath, ...] = Field(min_length=1, examples=[["/var/archive/**/*.gz"]])
    """Globs of the files; `**` is any number of folders, and a folder stands for all files in it. Those that begin with
    `s3://BUCKET/` are of objects in a bucket, and need the extra `s3`. Files may be packed by gzip, zstd, bzip2 or xz,
    and be tar files.
    """
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out: with a slash they are compared with the whole path, else with the name."""
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """So many files are read at once; the lines of each keep their order."""
    max_line_bytes: Annotated[Bytes, Field(ge=256)] = 1 << 20
    """Longer lines are cut, and counted."""
    host: Host = ""
    """Name of the machine in the events."""
    progress: bool = True
    """A bar is shown when standard error is a terminal."""
    s3: S3AccessConfig = S3AccessConfig()
    """Where the buckets of `paths` are, and who asks."""


@register("archive")
class ArchiveInput(Input[ArchiveConfig]):
    replayable: ClassVar[bool] = True
    default_keep_old: ClassVar[bool] = True

    @classmethod
    def idents(cls, config: ArchiveConfig) -> tuple[str, ...]:
        return ()

    @classmethod
    def notes(cls, config: ArchiveConfig) -> list[str]:
        if "s3" not in config.model_fields_set or any(map(is_in_bucket, config.paths)):
            return []
        return ["s3: it is not used, for no path begins with s3://"]

    def __init__(self, config: ArchiveConfig, context: Any) -> None:
        super().__init__(config, context)
        self._places = ArchivePlaces(config.paths, config.exclude, config.s3, config.threads)
        self._workers = Workers(context.name, config.threads)
        self._scan: asyncio.Task[dict[str, int]] | None = None

    async def open(self) -> None:
        self._scan = asyncio.create_task(self._workers.call(self._places.scan), name="archive scan")
        await asyncio.wait((self._scan,), timeout=OPEN_SECS)
        if self._scan.done():
            self._begin(self._scan.result())

    def _begin(self, sizes: dict[str, int]) -> None:
        text = self.context.start_position
        if not sizes and text is None:
            raise FatalPluginError(f"archive: no file matches {', '.join(self.config.paths)}")
        self._plan = Plan(sizes.items(), text)
        self._reading: dict[str, Reader] = {}
        self._moved = asyncio.Event()
        self._bytes = sum(self._plan.sizes.values())
        self._bytes_done = self._bytes - sum(self._plan.sizes.get(path, 0) for path, _ in self._plan.left())
        self._bytes_first = self._bytes_done
        self._started = time.monotonic()
        if self._plan.late:
            self._say("files came among those that were read already: they are not read", str(self._plan.late))

    def _say(self, text: str, detail: str) -> None:
        self.context.telemetry.say(text, plugin=self.context.name, detail=detail, level=logging.WARNING)

    async def run(self, emit: Emit) -> None:
        if self._scan is not None and not hasattr(self, "_plan"):
            self._begin(await self._scan)
        with self._bar() as bar:
            task = bar.add_task(self.context.name, total=self._bytes, completed=self._bytes_done)
            try:
                await self._read(emit, lambda: bar.update(task, completed=self._bytes_now))
            except ExceptionGroup as exc:
                raise exc.exceptions[0] from None
        await emit(b"", position=self._plan.text())

    async def _read(self, emit: Emit, show: Callable[[], None]) -> None:
        """Many files are read at once, and one after the other of what they give is emitted: positions must enter the
        journal in their order.
        """
        some: asyncio.Queue[tuple[str, Lines | None, str]] = asyncio.Queue(self.config.threads)
        todo = iter(self._plan.left())
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work(todo, some)) for _ in range(self.config.threads)]
            group.create_task(self._end_of(workers, some), name="archive end")
            while True:
                path, lines, why = await some.get()
                if not path:
                    break
                if lines is None:
                    self._finish(path, why)
                else:
                    self._plan.reached(path, lines.spot)
                    position = self._plan.text()
                    await emit(lines.data, source=lines.source, host=self.config.host, position=position)
                show()

    async def _end_of(
        self, workers: list[asyncio.Task[None]], some: asyncio.Queue[tuple[str, Lines | None, str]]
    ) -> None:
        await asyncio.wait(workers)
        await some.put(("", None, ""))

    async def _work(self, todo: Iterator[tuple[str, Spot]], some: asyncio.Queue[tuple[str, Lines | None, str]]) -> None:
        """Reads one file after the other. A stop does not wait for a thread that reads, as a store may hang: it closes
        its file when it comes back.
        """
        for path, spot in todo:
            while self._plan.is_ahead(path):
                self._moved.clear()
                await self._moved.wait()
            reader = self._reading[path] = Reader(self._places, path, spot, self.config.max_line_bytes)
            lines, why = reader.lines(), ""
            try:
                while (more := await self._workers.call(next, lines, None)) is not None:
                    await some.put((path, more, ""))
            except (OSError, DamagedFileError) as exc:
                why = (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
            finally:
                with suppress(ValueError):  # a thread is in it
                    lines.close()
            await some.put((path, None, why))

    def _finish(self, path: str, why: str) -> None:
        """The file is read, or cannot be read any further."""
        reader = self._reading.pop(path)
        if reader.cut:
            self.context.telemetry.metrics.noted.labels(self.context.name, "line_cut").inc(reader.cut)
        size = self._plan.sizes.get(path, 0)
        self._bytes_done += size
        if why:
            self.context.telemetry.metrics.noted.labels(self.context.name, "unreadable").inc()
            if len(self._plan.unread) < TOLD_FILES:
                self._say("a file cannot be read to its end: what could be read of it was taken", f"{path}: {why}")
        elif self._places.has_grown(path, reader.size):
            self._say("a file grows while it is read: what came later is not read", path)
        self._plan.finished(path, why)
        self._moved.set()

    def _bar(self) -> Progress:
        shown = self.config.progress and sys.stderr.isatty()
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        return Progress(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=not shown
        )

    @property
    def _bytes_now(self) -> int:
        return self._bytes_done + sum(reader.taken for reader in self._reading.values())

    @property
    def unread(self) -> int:
        return len(self._plan.unread)

    def status(self) -> dict[str, object]:
        if not hasattr(self, "_plan"):
            return {}
        now = self._bytes_now
        rate = (now - self._bytes_first) / max(time.monotonic() - self._started, 0.001)
        return {
            "files": len(self._plan.sizes),
            "files_done": self._plan.files_done,
            "unread": dict(list(self._plan.unread.items())[:TOLD_FILES]),
            "bytes": self._bytes,
            "bytes_done": now,
            "bytes_per_sec": round(rate),
            "left_secs": round((self._bytes - now) / rate) if rate >= 1 else None,
        }

    def renew(self) -> bool:
        return not self.config.s3.names_files

    async def close(self) -> None:
        if self._scan is not None:
            self._scan.cancel()
        self._workers.close()
        self._places.close()

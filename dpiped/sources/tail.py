"""Follower: follows all files that match some globs, and yields what is written to them.

Everything blocks for short times only and is called from one thread at a time; `Follower.step` is what a caller runs
in a thread, again and again (`follow` does so). What it promises: every line of a file comes once, in order, also over
renames, restarts (from saved positions) and copytruncate. That holds for files too that took a followed one's place and
were rotated away before anybody looked, if they are in the same folder. What is truncated before it was read, and
stands in no copy beside the file, is lost, and each truncation is counted. A file that leaves the globs is read to its
end through the open descriptor; only when it is finished its unfinished last line comes.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec

from dpiped.sources.tail_file import TailFile, TruncatedFile
from dpiped.sources.tail_files import FileSet
from dpiped.sources.tail_marks import TAIL_BYTES, Chunk, FileMark, Positions
from dpiped.sources.tail_options import FollowOptions
from dpiped.sources.tail_reader import open_reader
from dpiped.sources.threads import finish_in_thread

LEAST_BLOCK = 64 << 10
UNMATCHED_SECS = 10.0
"""A pattern is called unmatched when no file came for so long; programs that start with us make theirs soon."""


class Follower:
    """All files of one input. Not thread-safe."""

    def __init__(self, options: FollowOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        """What happened so far: "truncated", "vanished", "unreadable", "line_cut", "nul_bytes", "gzip_damaged" -> how
        often.
        """
        self.done = False
        """With `follow=False`: everything was read."""
        self._clock = clock
        self._set = FileSet(options, self.counts)
        self._descriptors = self._set.descriptors
        self._next_scan = self._told_from = 0.0

    @property
    def open_files(self) -> int:
        return self._descriptors.count

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Patterns that matched no file since the start; none in the first seconds, if files may still come."""
        return self._set.globs.unmatched if self._clock() >= self._told_from else ()

    @property
    def packed(self) -> tuple[str, ...]:
        """Files that are there and left out, since they are compressed in a way that is not read."""
        return self._set.globs.packed

    def __len__(self) -> int:
        return len(self._set.files)

    def start(self, positions: Positions | None) -> list[Chunk]:
        """Before the first step. None: the very first start, the only one at which `from_end` counts.

        Returns what it saw for the first time, without data. The steps tell it too; who can keep it at once forgets no
        file that a kill finds unread.
        """
        now = self._clock()
        self._set.take_up(positions, now)
        self._next_scan = now + self.options.scan_secs
        self._told_from = now + (UNMATCHED_SECS if self.options.follow else 0.0)
        known = positions.files if positions is not None else ()
        return [chunk for chunk in self._set.chunks if not chunk.gone and chunk.mark.id not in known]

    def step(self, limit_bytes: int = 1 << 20) -> list[Chunk]:
        """What can be read now, about `limit_bytes`, fairly from all files. Empty: nothing new, call again later."""
        now = self._clock()
        if self.options.follow and now >= self._next_scan:
            self._set.scan(now)
            self._next_scan = now + self.options.scan_secs
        room = limit_bytes
        for file in [*self._set.ring]:
            if room <= 0:
                break
            self._set.ring.rotate(-1)
            room -= self._poll(file, now, min(room, self.options.block_bytes))
        self.done = not self.options.follow and not self._set.files
        chunks, self._set.chunks = self._set.chunks, []
        return chunks

    def read_again(self, mark: FileMark, start: int, end: int, crc: int) -> bytes | None:
        """The bytes of a range that was read before, from wherever the file is now; None if they are not to be had
        whole.

        Args:
            mark: the file after that range.
        """
        for path in self._set.paths_of(mark):
            try:
                reader = open_reader(path)
            except OSError:
                continue
            try:
                data = reader.pread(end - start, start)
            except OSError:
                continue
            finally:
                reader.close()
            if len(data) == end - start and zlib.crc32(data) == crc:
                return data
        return None

    def halve(self, mark: FileMark, path: str, start: int, end: int, crc: int) -> tuple[Chunk, Chunk] | None:
        """Two chunks that together are the range, cut between two events near its middle; None if there is only one."""
        raw = self.read_again(mark, start, end, crc)
        if raw is None:
            return None
        shaper = self._set.shaper
        cut = raw.rfind(b"\n", 0, len(raw) // 2) + 1 or raw.find(b"\n") + 1
        if shaper.multiline and cut:
            cut = shaper.last_start(raw[: raw.find(b"\n", cut) + 1])
        if not 0 < cut < len(raw):
            return None
        before = self.read_before(mark, start)
        tail = (before + raw[:cut])[-TAIL_BYTES:]
        middle = msgspec.structs.replace(mark, offset=start + cut, tail=zlib.crc32(tail), skip=False)
        first, second = shaper.shape(raw[:cut]), shaper.shape(raw[cut:])
        return (
            Chunk(middle, path, start, start + cut, zlib.crc32(raw[:cut]), first.data, first.codec),
            Chunk(mark, path, start + cut, end, zlib.crc32(raw[cut:]), second.data, second.codec),
        )

    def read_before(self, mark: FileMark, start: int) -> bytes:
        """The bytes that a mark at `start` is checked by; those of the first place that can be read."""
        first = max(0, start - TAIL_BYTES)
        for path in self._set.paths_of(mark):
            try:
                reader = open_reader(path)
            except OSError:
                continue
            try:
                return reader.pread(start - first, first)
            finally:
                reader.close()
        return b""

    def shape(self, raw: bytes) -> bytes:
        """The data of a range that was read again."""
        return self._set.shaper.shape(raw).data

    def close(self) -> None:
        """Closes all descriptors."""
        for file in self._set.files.values():
            self._descriptors.shut(file)

    def _poll(self, file: TailFile, now: float, most: int) -> int:
        """Reads one block of the file; returns how much of the step's room it took."""
        if self._descriptors.waits(file):
            self._descriptors.hold(file, now)
            return 0
        file.after = None
        final = self._is_final(file, now)
        if not (final or file.due or file.is_gzip or self._set.shaper.multiline):
            return 0
        if not self._descriptors.open(file, now):
            if final and (file.missing or file.failed) and not self._set.can_wait_for(file):
                self._give_up(file, now)
            return 0
        try:
            chunk = file.read(
                max(most, LEAST_BLOCK), now, final=final or file.is_gzip, ripe=now - self.options.multiline_timeout_secs
            )
        except TruncatedFile:
            self._set.truncated(file, now)
            return 1
        except OSError:
            self._descriptors.fail(file, now)
            return 0
        if chunk is not None:
            self._set.chunks.append(chunk)
            return max(chunk.end - chunk.start, 1)
        self._at_end(file, now, final=final)
        return 0

    def _is_final(self, file: TailFile, now: float) -> bool:
        if not self.options.follow:
            return True
        if file.rotated_at is None and not file.renamed:
            return False
        return now - max(file.rotated_at or 0.0, file.changed_at) >= self.options.rotate_wait_secs

    def _at_end(self, file: TailFile, now: float, *, final: bool) -> None:
        if file.damaged and not file.damage_told:
            file.damage_told = True
            self.counts["gzip_damaged"] += 1
        if final and (file.rotated_at is not None or not self.options.follow):
            if not self._set.may_be_copied(file):
                self._set.end(file, now)
            return
        file.renamed = file.renamed and not final
        if file.is_gzip:
            self._descriptors.shut(file)

    def _give_up(self, file: TailFile, now: float) -> None:
        """It left the globs while it was not open and is nowhere near: what was not read of it is lost."""
        if (file.behind or self._set.has_successor(file)) and not self._set.take_copy(file, now):
            self.counts["vanished"] += 1
        self._set.end(file, now)


async def follow(follower: Follower, limit_bytes: int = 1 << 20, poll_secs: float = 0.2) -> AsyncIterator[list[Chunk]]:
    """Steps in a thread, so that no slow disk holds the event loop; yields what each gave, also nothing.

    Ends only with `follow=False`, when everything was read. The caller starts and closes the follower.
    """
    while not follower.done:
        chunks = await finish_in_thread(follower.step, limit_bytes)
        yield chunks
        if not chunks and not follower.done:
            await asyncio.sleep(poll_secs)

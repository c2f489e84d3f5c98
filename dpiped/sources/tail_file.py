"""TailFile: one followed file. Reads blocks, cuts them at the last newline, notices truncation.

All calls are short and blocking (one read of at most about `max_line_bytes`), made from one thread at a time.
"""

from __future__ import annotations

import os
import time
import zlib
from collections import Counter
from contextlib import closing

from dpiped.sources.tail_marks import HEAD_BYTES, TAIL_BYTES, Chunk, FileMark, fingerprint, path_to_text, shown_path
from dpiped.sources.tail_reader import GzipReader, PlainReader, open_reader
from dpiped.sources.tail_scan import FileKey
from dpiped.sources.tail_shape import Shaper

MTIME_GRAIN_NS = 20_000_000
"""A change so soon after another may leave the same mtime (kernels stamp by the tick), so size and mtime prove nothing
yet.
"""


_COMPARED_AT_ONCE = 256 << 10


class TruncatedFile(Exception):
    """What stood before the offset is not there any more."""


def verify(mark: FileMark, path: str) -> bytes | None:
    """The bytes before the mark's offset if `path` is the file of the mark and was not truncated, else None."""
    try:
        reader = open_reader(path)
    except OSError:
        return None
    try:
        head = reader.pread(mark.head_len, 0)
        if len(head) < mark.head_len or fingerprint(head) != mark.head:
            return None
        before = min(TAIL_BYTES, mark.offset)
        tail = reader.pread(before, mark.offset - before)
        return tail if len(tail) == before and zlib.crc32(tail) == mark.tail else None
    except OSError:
        return None
    finally:
        reader.close()


class TailFile:
    """A file and how far it was read."""

    def __init__(
        self, number: int, key: FileKey, path: str, shaper: Shaper, counts: Counter[str], checksums: bool = True
    ) -> None:
        self.id = number
        self.key = key
        self.path = path
        self.source = path
        self.home = path
        """The real path of the source."""
        self.shaper = shaper
        self.counts = counts
        self.offset = 0
        self.before = b""
        """The up to 256 bytes before the offset."""
        self.head_len, self.head, self.skip = 0, fingerprint(b""), False
        self.history = 0
        """Bytes that were there at the very first start and are not wanted, until it is opened."""
        self.reader: PlainReader | None = None
        self.rotated_at: float | None = None
        """When it was seen to have left the globs (renamed, deleted); it is read to its end and finished."""
        self.renamed = False
        """It got another name that the globs match: its unfinished last line comes when it has been silent for a
        while.
        """
        self.after: TailFile | None = None
        """The file that had this path before; it is read to its end first."""
        self.hint: tuple[int, int] | None = None
        """(size, mtime) at the last scan, for files that are not open."""
        self.written_ns = 0
        """Its mtime when it was seen last by the name it is followed by."""
        self.changed_at = 0.0
        self.retry_at = 0.0
        """When opening it may be tried again."""
        self.failed = False
        """The last try to open or read it failed, which was counted."""
        self.damage_told = False
        self.missing = False
        """When it was to be opened it was not there."""
        self._checksums = checksums
        self._seen: tuple[int, int] | None = None
        self._unsure = False

    def resume(self, mark: FileMark, before: bytes) -> None:
        """Goes on where the mark says; `before` are the bytes that `verify` read."""
        self.source, self.home = mark.source, mark.home
        self.renamed = self.path != self.source
        self.offset, self.before, self.skip = mark.offset, before, mark.skip
        self.head_len, self.head, self.history = mark.head_len, mark.head, mark.history

    def restart(self) -> None:
        """The file was truncated: from its beginning."""
        self.offset, self.before, self.skip, self._seen = 0, b"", False, None
        self.head_len, self.head, self.history = 0, fingerprint(b""), 0
        if self.reader is not None:  # later than a copy that was made before
            size, self.written_ns = self.reader.signature()
            self.found_empty(size, self.written_ns)

    def found_empty(self, size: int, mtime_ns: int) -> None:
        """Keeps in the mark that nothing was in it yet, if so: then it was read to its end. It is opened all the same,
        or another file could get its inode.
        """
        if not size:
            self._seen, self._unsure = (size, mtime_ns), True

    def _skip_history(self, reader: PlainReader) -> None:
        """To behind the last newline of what was there at the start, so that a line being written comes whole."""
        signature = reader.signature()
        end = reader.size() if isinstance(reader, GzipReader) else self.history
        if reader.size() < end:  # truncated since
            end = 0
        while end > 0:
            begin = max(0, end - (64 << 10))
            newline = reader.pread(end - begin, begin).rfind(b"\n")
            end = begin + newline + 1
            if newline >= 0:
                break
            end = begin
        first = max(0, end - TAIL_BYTES)
        self.before = reader.pread(end - first, first)
        if signature[0] == self.history:
            self._seen = signature  # else it would have to stay open until it is read
        self.offset, self.history = end, 0
        self._know(reader.pread(HEAD_BYTES, 0))

    def open(self) -> None:
        """Raises OSError; FileNotFoundError also when another file has its path now."""
        reader = open_reader(self.path)
        if reader.key != self.key:
            reader.close()
            raise FileNotFoundError(self.path)
        try:
            if self.history:
                self._skip_history(reader)
        except OSError:
            reader.close()
            raise
        self.reader = reader

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader, self.hint = None, self._seen

    @property
    def place(self) -> str:
        """The real path at which it was last seen; a link may lead to another file by now."""
        return self.home if self.path == self.source else os.path.realpath(self.path)

    @property
    def mark(self) -> FileMark:
        return FileMark(
            self.id,
            path_to_text(self.path),
            path_to_text(self.source) if self.source != self.path else "",
            self.key[1],
            self.head_len,
            self.head,
            self.offset,
            zlib.crc32(self.before),
            self.skip,
            self.written_ns,
            path_to_text(self.home) if self.home != self.source else "",
            *(self._seen or (0, 0)),
            self.history,
        )

    def chunk(self, *, gone: bool = False) -> Chunk:
        """A chunk without data, to tell the mark."""
        return Chunk(self.mark, shown_path(self.source), self.offset, self.offset, 0, b"", gone=gone)

    @property
    def behind(self) -> bool:
        """Whether something was written since it was read to its end."""
        now = self.reader.signature() if self.reader is not None else self.hint
        return now is None or now != self._seen

    @property
    def due(self) -> bool:
        """Whether a read may bring something; of a closed file as the last scan saw it."""
        return self.behind or self._unsure

    @property
    def damaged(self) -> bool:
        return isinstance(self.reader, GzipReader) and self.reader.damaged

    @property
    def is_gzip(self) -> bool:
        return isinstance(self.reader, GzipReader)

    @property
    def is_away(self) -> bool:
        """It left the globs while it was closed: what became of it can be told by its mark only."""
        return self.reader is None and self.rotated_at is not None

    def intact(self, path: str = "") -> bool:
        """Whether what stands before the offset is what was read; also true when that cannot be told now.

        Args:
            path: where it is now, if not where it was.
        """
        try:
            reader = self.reader or open_reader(path or self.path)
        except OSError:
            return True
        try:
            before = reader.pread(len(self.before), self.offset - len(self.before))
            return (before == self.before and self._same_head(reader)) or reader.key != self.key
        except OSError:
            return True
        finally:
            if reader is not self.reader:
                reader.close()

    def is_unlinked(self) -> bool:
        """Whether no name is left of an open file."""
        return self.reader is not None and os.fstat(self.reader.fd).st_nlink == 0

    def rest_is_in(self, path: str) -> bool:
        """Whether another file has at the same place what was not read yet of this one; also true if it is closed."""
        if self.reader is None:
            return True
        try:
            with closing(open_reader(path)) as other:
                at = self.offset
                while piece := self.reader.pread(_COMPARED_AT_ONCE, at):
                    if other.pread(len(piece), at) != piece:
                        return False
                    at += len(piece)
        except OSError:
            return False
        return True

    def read(self, most: int, now: float, *, final: bool = False, ripe: float | None = None) -> Chunk | None:
        """The next whole lines, about `most` bytes; None when there are none yet.

        Args:
            final: nothing will be written any more: an unfinished last line counts as a line.
            ripe: with multiline: an event is complete when nothing was written since this time.

        Raises:
            TruncatedFile: the caller decides, then calls `restart`.
        """
        assert self.reader is not None
        signature = self.reader.signature()
        if signature != self._seen:
            self.changed_at = now
        ready = final or (ripe is not None and self.changed_at <= ripe)
        if signature == self._seen and not ready and not self._unsure:
            return None
        for size in (most, self.shaper.max_line_bytes + 1 + TAIL_BYTES + most):
            data = self.reader.pread(len(self.before) + size, self.offset - len(self.before))
            if not data.startswith(self.before) or not self._same_head(self.reader):
                raise TruncatedFile
            at_end = len(data) < len(self.before) + size
            whole = final and not self.damaged  # the last line of a damaged file is not whole
            chunk = self._take(data, at_end=at_end, final=whole, ready=ready)
            if chunk is not None or at_end:
                break
        if at_end and (chunk is None or not chunk.mark.skip):
            self._seen = signature
            self._unsure = time.time_ns() - signature[1] < MTIME_GRAIN_NS and not self.is_gzip
            chunk = chunk and chunk._replace(mark=self.mark)
        return chunk

    def _same_head(self, reader: PlainReader) -> bool:
        """Log lines may end alike, so that the bytes before the offset prove little: the head is compared as well."""
        if self.offset <= TAIL_BYTES or isinstance(reader, GzipReader):
            return True
        return fingerprint(reader.pread(self.head_len, 0)) == self.head

    def _take(self, data: bytes, *, at_end: bool, final: bool, ready: bool) -> Chunk | None:
        """Decides how much of `data` (which begins with `self.before`) is taken, and moves there."""
        base = self.offset - len(self.before)
        start = self._after_hole(data, len(self.before))
        if self.skip:
            newline = data.find(b"\n", start)
            if newline < 0:
                return self._move(data, base, len(data), len(data), skip=True) if len(data) > start else None
            start = newline + 1
        cut = data.rfind(b"\n", start) + 1
        if final and at_end:
            cut = len(data)
        elif cut <= start and len(data) - start > self.shaper.max_line_bytes:
            self.counts["line_cut"] += 1
            return self._move(data, base, start, start + self.shaper.max_line_bytes, skip=True)
        elif cut > start and self.shaper.multiline and not ready:
            last = start + self.shaper.last_start(data[start:cut])
            if last > start or len(data) - start <= self.shaper.max_line_bytes:
                cut = last
        cut = max(cut, start)
        return self._move(data, base, start, cut, skip=False) if cut > len(self.before) else None

    def _after_hole(self, data: bytes, start: int) -> int:
        """A file that was truncated under a writer that keeps its place begins with NULs: where they end."""
        if data[start : start + 1] != b"\0" or self.before.strip(b"\0"):
            return start
        end = len(data) - len(data[start:].lstrip(b"\0"))
        self.counts["nul_bytes"] += end - start
        return end

    def _move(self, data: bytes, base: int, start: int, cut: int, *, skip: bool) -> Chunk:
        raw = data[start:cut]
        self.before = data[max(0, cut - TAIL_BYTES) : cut]
        self.offset, self.skip = base + cut, skip
        if self.head_len < HEAD_BYTES:
            assert self.reader is not None
            self._know(data if base == 0 and len(data) >= HEAD_BYTES else self.reader.pread(HEAD_BYTES, 0))
        shaped = self.shaper.shape(raw)
        crc = zlib.crc32(raw) if self._checksums else 0
        return Chunk(self.mark, shown_path(self.source), base + start, base + cut, crc, shaped.data, shaped.codec)

    def _know(self, data: bytes) -> None:
        """Hashes the head anew while it is short of 1,024 bytes."""
        head = data[:HEAD_BYTES]
        self.head_len, self.head = len(head), fingerprint(head)

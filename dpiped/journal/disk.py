"""Storage `disk`: segment files in a folder, named by their first offset.

A group is written with one system call and synced; a segment that nobody wants is unlinked when it is the oldest and
else replaced by a stub that names what it held, so that a gap which is a loss can be told from one that is not.
"""

from __future__ import annotations

import errno
import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from dpiped.crashpoint import crash_point
from dpiped.files import make_folder, sync_folder, write_all
from dpiped.journal.base import Backlog, Recovered, Storage, Wanted, learn, older_mark
from dpiped.journal.file_view import FileView
from dpiped.journal.record import OVERHEAD_BYTES, Frame, Marks
from dpiped.journal.recovery import Recovery
from dpiped.journal.segment import SUFFIX, Segment, group_pieces, read_frame, scan, write_rest
from dpiped.pack import Route
from dpiped.quarantine import Quarantine

SEGMENT_BYTES = 64 << 20
INDEXED_SEGMENTS = 4
"""So many closed segments keep their index of positions in memory; runners that lag read about the same ones."""
SMALLEST_SEGMENT_BYTES = 256 << 10
SEGMENTS_OF_BUDGET = 8
"""A small budget gets smaller segments, so that freeing one makes room."""
STRICT_TRIES = 5
"""So often a last group that the disk cannot read is left for a better moment; then it counts as damaged."""
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
"""These pass: nothing is counted as lost for them."""
REWRITE_BELOW = 0.25
"""A closed segment of which less than this share is wanted is rewritten."""


def segment_bytes_for(max_bytes: int) -> int:
    """How large segments of a journal with this budget are."""
    return min(SEGMENT_BYTES, max(SMALLEST_SEGMENT_BYTES, max_bytes // SEGMENTS_OF_BUDGET))


class DiskStorage(Storage):
    """Files are made 0640. One process writes (the caller holds the lock of data_dir); any number may read."""

    durable = True

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES, quarantine: Quarantine | None = None) -> None:
        self._folder = folder
        self._quarantine = quarantine
        self._segment_bytes = segment_bytes
        self._segments: list[Segment] = []
        self._indexed: list[Segment] = []
        """Closed segments whose positions are in memory, because somebody reads them."""
        self._damaged: set[tuple[Path, int]] = set()
        """Places of packs that were found damaged, so that each is counted once."""
        self._lock = threading.Lock()
        self._fd = -1
        self._opened = 0
        """How often it was tried to open it."""
        self._good = 0
        """Size of the last file up to the last whole group."""

    # ---- open ----------------------------------------------------------------------------------------------------
    def open(self) -> Recovered:
        if self._quarantine is not None and self._folder.exists() and not self._folder.is_dir():
            self._quarantine.take(self._folder, "no folder")
        make_folder(self._folder)
        self._opened += 1
        found = Recovery(self._folder, self._quarantine, lenient=self._opened > STRICT_TRIES)
        found.run()
        sync_folder(self._folder)
        self._segments = found.segments
        marks = self._recover_marks(found.tail.marks)
        self.next = max([marks.next, found.tail.next, *(segment.end for segment in self._segments)])
        self.used_bytes = sum(segment.size for segment in self._segments)
        if self._segments:
            self._open_last(self._segments[-1].path)
        damage = [f"{segment.path.name}: {text}" for segment in self._segments for text in segment.damage]
        lost = self._count_lost() + found.lost
        for segment in self._segments[:-1]:
            segment.forget_positions()
        return Recovered(marks, lost, [*found.damage, *damage], found.unread)

    def _recover_marks(self, cut_off: Marks | None) -> Marks:
        """`cut_off`: sound ones that stood in a damaged group; they tell only what is before them."""
        last = max((n for n, segment in enumerate(self._segments) if segment.marks is not None), default=0)
        marks = Marks(0, {}, {}, {})
        for segment in self._segments[last:]:
            if segment.marks is not None:
                marks = segment.marks
            self._learn_heads(segment, marks)
        return cut_off if cut_off is not None and cut_off.next >= marks.next else marks

    def _learn_heads(self, segment: Segment, marks: Marks) -> None:
        """Earlier versions wrote the streams of headers without their project, which only the heads tell: a batch that
        one of them stored last is known when it is sent again.
        """
        older: dict[str, tuple[int, str, int]] = {}
        with FileView(segment.path) as data:
            for at in segment.positions:
                try:
                    frame = read_frame(data, at)
                except OSError:
                    continue  # it is told, and counted, when somebody wants it
                if frame is not None:
                    learn(marks, frame.head)
                    older |= older_mark(frame.head)
        for stream, mark in older.items():
            marks.streams.setdefault(stream, mark)

    def _count_lost(self) -> int:
        lost = sum(segment.missing() for segment in self._segments)
        known = [segment for segment in self._segments if segment.first >= 0]
        if known:  # a file is named by its first pack
            lost += known[0].first - int(self._segments[0].path.stem)
        return lost + sum(max(0, b.first - a.end) for a, b in pairwise(known))

    def _open_last(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self._good = self._segments[-1].size

    # ---- append --------------------------------------------------------------------------------------------------
    def append(self, frames: Sequence[Frame], marks: Callable[[], Marks]) -> None:
        full_at = self._segment_bytes // 4 if self.idle_bytes else self._segment_bytes
        if self._fd < 0 or self._good >= full_at:
            self._roll(frames[0].head.offset)
        segment = self._segments[-1]
        first = marks() if segment.size == 0 else None
        pieces = group_pieces(frames, first)
        crash_point("journal.appending")
        crash_point("journal.torn", lambda: write_all(self._fd, pieces[: len(pieces) // 2]))
        written = write_all(self._fd, pieces)
        crash_point("journal.written")
        os.fdatasync(self._fd)
        crash_point("journal.synced")
        at = segment.size + (len(b"".join(pieces[:3])) if first is not None else 0)
        with self._lock:
            skip = 3 if first is not None else 0
            for number, frame in enumerate(frames):
                length = sum(map(len, pieces[skip + 3 * number : skip + 3 * number + 3]))
                segment.add(frame.head, at, length)
                at += length
            segment.marks = segment.marks or first
            segment.size += written
            self._good = segment.size
            self.used_bytes += written
            self.idle_bytes = 0
            self.next = frames[-1].head.offset + 1

    def _roll(self, offset: int) -> None:
        path = self._folder / f"{offset:020d}{SUFFIX}"
        if path.exists() and path.stat().st_size:  # foreign, and it could not be moved to the quarantine
            path.rename(path.with_suffix(".foreign"))
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        crash_point("journal.rolled")
        try:
            sync_folder(self._folder)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._good = fd, 0
        with self._lock:
            if len(self._segments) > 1:  # it is read by scanning when somebody lags that far
                self._segments[-2].forget_positions()
            self._segments.append(Segment(path))

    def cut(self) -> None:
        if self._fd >= 0:
            os.ftruncate(self._fd, self._good)
            os.fsync(self._fd)

    # ---- read ----------------------------------------------------------------------------------------------------
    def first(self) -> int:
        with self._lock:
            return next(
                (
                    segment.offsets[0] if segment.offsets else segment.first
                    for segment in self._segments
                    if segment.shares
                ),
                self.next,
            )

    def begin(self) -> int:
        with self._lock:
            known = any(segment.first >= 0 for segment in self._segments)
            return int(self._segments[0].path.stem) if known else self.next

    def read(self, offset: int, wanted: Callable[[Route], bool], most_bytes: int) -> tuple[list[Frame], int]:
        frames: list[Frame] = []
        size = 0
        while offset < self.next and size < most_bytes:
            segment = self._segment_of(offset)
            if segment is None:
                return frames, self.next
            if any(share.last >= offset and wanted(route) for route, share in segment.shares.items()):
                found, offset = self._read_segment(segment, offset, wanted, most_bytes - size)
                frames += found
                size += sum(len(frame.body) for frame in found)
            else:
                offset = segment.end
        return frames, offset

    def _segment_of(self, offset: int) -> Segment | None:
        """The segment with the first pack at or after `offset`."""
        with self._lock:
            known = [segment for segment in self._segments if segment.end >= 0]
            at = bisect_right([segment.end for segment in known], offset)
            return known[at] if at < len(known) else None

    def _read_segment(
        self,
        segment: Segment,
        offset: int,
        wanted: Callable[[Route], bool],
        most_bytes: int,
        *,
        strict: bool = False,
    ) -> tuple[list[Frame], int]:
        """`strict`: what the disk cannot read raises OSError; else it is counted and passed over."""
        try:
            opened = self._open_indexed(segment)
        except OSError as exc:
            if exc.errno in _NO_DESCRIPTORS or strict:
                raise
            self._say_damaged(segment.path, -1, f"packs from {offset} on cannot be read: {exc.strerror}")
            return [], segment.end
        if opened is None:
            return [], offset  # freed, rewritten or forgotten meanwhile: the caller looks again
        data, end, offsets, positions = opened
        frames, taken = [], 0
        with data:
            index = bisect_left(offsets, offset)
            while index < len(positions) and offsets[index] < end:
                frame = self._read_frame(data, positions[index], offsets[index], strict=strict)
                index += 1
                if frame is not None and wanted(Route.of(frame.head)):
                    frames.append(frame)
                    taken += len(frame.body)
                    if taken >= most_bytes:
                        return frames, frame.head.offset + 1
        return frames, end

    def _read_frame(self, data: FileView, at: int, offset: int, *, strict: bool) -> Frame | None:
        try:
            frame = read_frame(data, at)
        except OSError as exc:
            if strict:
                raise
            self._say_damaged(data.path, at, f"pack {offset} at byte {at} cannot be read: {exc.strerror}")
            return None
        if frame is not None and frame.head.offset == offset:
            return frame
        self._say_damaged(data.path, at, f"pack {offset} at byte {at} is damaged")
        return None

    def _open_indexed(self, segment: Segment) -> tuple[FileView, int, array[int], array[int]] | None:
        """(file, end, offsets, positions) that belong together; None when the file is no longer this one."""
        indexed = len(segment.offsets) > 0
        found = Segment(segment.path) if indexed else _scan_if_there(segment.path)
        with self._lock:
            if segment not in self._segments or (indexed and not segment.offsets):
                return None
            if not segment.offsets:  # else another reader was faster
                if not found.offsets:
                    raise FileNotFoundError(errno.ENOENT, "nothing is left of the file", str(segment.path))
                segment.offsets, segment.positions = found.offsets, found.positions
                self._indexed = [one for one in self._indexed if one is not segment] + [segment]
                if len(self._indexed) > INDEXED_SEGMENTS:
                    self._indexed.pop(0).forget_positions()
            return FileView(segment.path), segment.end, segment.offsets, segment.positions

    def _say_damaged(self, path: Path, at: int, text: str) -> None:
        with self._lock:  # more than one thread reads
            if (path, at) in self._damaged:
                return
            self._damaged.add((path, at))
        self.on_damage(f"{path.name}: {text}")

    # ---- free ----------------------------------------------------------------------------------------------------
    def free(self, wanted: Wanted, below: int) -> int:
        before = self.used_bytes
        with self._lock:
            last = max((n for n, segment in enumerate(self._segments) if segment.shares), default=0)
            closed = [segment for segment in self._segments[:last] if segment.end <= below]
        failed: OSError | None = None
        for segment in closed:
            try:
                self._free_segment(segment, wanted)
            except OSError as exc:  # one that fails must not hold the room of the others
                failed = failed or exc
        self._measure_idle(wanted)
        if failed is not None:
            raise failed
        return before - self.used_bytes

    def gone(self, offset: int) -> int:
        with self._lock:
            known = [segment for segment in self._segments if segment.end > offset]
            ranges = [pair for segment in known for pair in segment.dropped]
            ends = [max(offset, segment.end) for segment in known]
            starts = [segment.first for segment in known]
        ranges += [(end, start) for end, start in zip([offset, *ends], [*starts, self.next], strict=True)]
        return sum(max(0, high - max(low, offset)) for low, high in ranges)

    def _measure_idle(self, wanted: Wanted) -> None:
        with self._lock:
            last = next((segment for segment in reversed(self._segments) if segment.shares), None)
            busy = last is None or any(wanted(route, share.first, share.last) for route, share in last.shares.items())
            self.idle_bytes = 0 if busy or last is None else last.size

    def _free_segment(self, segment: Segment, wanted: Wanted) -> None:
        kept = sum(share.size for route, share in segment.shares.items() if wanted(route, share.first, share.last))
        if kept == 0 and segment is self._segments[0]:
            self.on_free(segment.end)
            crash_point("journal.freeing")
            with self._lock:
                segment.path.unlink(missing_ok=True)
                self._segments.remove(segment)
                self.used_bytes -= segment.size
        elif kept < segment.size * REWRITE_BELOW and (kept or segment.shares):
            self._rewrite(segment, wanted)

    def _rewrite(self, segment: Segment, wanted: Wanted) -> None:
        """Leaves only wanted packs, under the same name, and names what was dropped."""
        frames: list[Frame] = []
        at = segment.first
        while at < segment.end:
            some, at = self._read_segment(
                segment, at, lambda route: wanted(route, segment.first, segment.end - 1), segment.size, strict=True
            )
            frames += [frame for frame in some if wanted(Route.of(frame.head), frame.head.offset, frame.head.offset)]
        path = segment.path.with_suffix(".tmp")
        try:
            fresh = write_rest(path, segment, frames)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        if fresh.size + OVERHEAD_BYTES >= segment.size:
            path.unlink()
            return
        crash_point("journal.rewriting")
        with self._lock:  # a reader opens either the old file with its places, or the new one with its own
            path.rename(segment.path)
            fresh.path = segment.path
            self.used_bytes += fresh.size - segment.size
            self._segments[self._segments.index(segment)] = fresh
        crash_point("journal.rewritten")
        sync_folder(self._folder)

    def backlog(self, offset: int, wanted: Callable[[Route], bool]) -> list[Backlog]:
        found = []
        with self._lock:
            for segment in self._segments:
                mine = [share for route, share in segment.shares.items() if share.last >= offset and wanted(route)]
                if mine:
                    found.append(
                        Backlog(
                            max(offset, segment.first),
                            sum(share.size for share in mine),
                            sum(share.events for share in mine),
                        )
                    )
        return found

    def kept_from(self, since_ms: int, most_bytes: int) -> int:
        first, size = self.next, 0
        with self._lock:
            for segment in reversed(self._segments):
                size += segment.size
                if size > most_bytes and segment.newest_ms < since_ms:
                    break
                first = segment.first if segment.first >= 0 else first
        return first

    def free_disk_bytes(self) -> int | None:
        stat = os.statvfs(self._folder)
        return stat.f_bavail * stat.f_frsize

    @property
    def in_place(self) -> bool:
        with self._lock:  # under it segments are freed; new ones are made before they are known
            return (self._segments[-1].path if self._segments else self._folder).exists()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _scan_if_there(path: Path) -> Segment:
    try:
        return scan(path)
    except FileNotFoundError:  # freed meanwhile, or deleted by somebody
        return Segment(path)

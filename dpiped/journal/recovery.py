"""What is found in the folder of a journal, sorted out: segments in order, without anything else and nothing twice.

What does not belong there, or cannot be read at all, goes to the quarantine; without one it stays and is passed over.
Only a file that a newer dpipe wrote is left alone, and ends the start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dpiped.journal.segment import SUFFIX, Segment, scan
from dpiped.journal.tail import Tail, find_tail, mend
from dpiped.quarantine import Quarantine

_NAME = re.compile(r"[0-9]{20}\.seg")
_SYSTEM = ("lost+found",)


class Recovery:
    """One opening of a folder; `run` once. Blocking."""

    def __init__(self, folder: Path, quarantine: Quarantine | None, *, lenient: bool) -> None:
        self._folder = folder
        self._lenient = lenient
        self._quarantine = quarantine
        self.segments: list[Segment] = []
        self.damage: list[str] = []
        """A line for each file or place that is not as it should be."""
        self.tail = Tail()
        """What was cut from the last segment, if that was damaged."""
        self.unread: list[int] = []
        """One for each pack, and each file of which nothing can be read, that is lost behind all that tells its offset:
        the first offset that it can have had.
        """
        self.lost = 0
        """Packs of a damaged tail whose offsets are known."""

    def run(self) -> None:
        """Raises NewerFormatError, and OSError when the disk refuses to be mended."""
        found = [segment for segment in map(self._scan, self._own_files()) if segment is not None]
        named = [segment for segment in found if self._is_in_place(segment)]
        self.segments = self._without_doubles(named)
        begin = int(self.segments[0].path.stem) if self.segments else 0
        while self.segments and not self._mend_last(self.segments[-1]):
            self.segments.pop()
        self._judge(max([begin, *(segment.end for segment in self.segments)]))

    def _judge(self, end: int) -> None:
        """`end`: the offset after the last pack that is left."""
        self.lost = max(0, self.tail.next - end)
        end += self.lost
        unknown = max(0, self.tail.packs - self.lost)
        self.unread = [first for first in self.unread if first >= end] + unknown * [end]

    def _own_files(self) -> Iterable[Path]:
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".tmp" and path.is_file():
                path.unlink()
            elif path.name in _SYSTEM:
                continue
            elif not _NAME.fullmatch(path.name) or not path.is_file():
                self._move(path, "no segment of a journal")  # none of our packs was in it: nothing is lost
            elif path.stat().st_size == 0:
                path.unlink()  # made, and never written to
            else:
                yield path

    def _aside(self, path: Path, reason: str) -> bool:
        """False when it is still there."""
        self.damage.append(f"{path.name}: {reason}")
        return self._move(path, reason)

    def _move(self, path: Path, reason: str) -> bool:
        return self._quarantine is not None and self._quarantine.take(path, reason)

    def _scan(self, path: Path) -> Segment | None:
        try:
            segment = scan(path)
        except OSError as exc:
            self.unread.append(int(path.stem))
            self._aside(path, f"it cannot be opened: {exc.strerror}")
            return None
        if segment.first >= 0 or segment.marks is not None or find_tail(path, lenient=self._lenient).torn:
            return segment
        self.unread.append(int(path.stem))
        self._aside(path, "nothing in it can be read")
        return None

    def _is_in_place(self, segment: Segment) -> bool:
        """A segment is named by its first offset; one that somebody renamed gets its name back."""
        stem = int(segment.path.stem)
        if segment.first in (-1, stem) or (segment.first > stem and segment.damage):
            return True
        right = segment.path.with_name(f"{segment.first:020d}{SUFFIX}")
        if right.exists():
            self._aside(segment.path, f"it begins with pack {segment.first}, of which there is another file")
            return False
        self.damage.append(f"{segment.path.name}: it begins with pack {segment.first}, and is named so again")
        segment.path.rename(right)
        segment.path = right
        return True

    def _without_doubles(self, segments: list[Segment]) -> list[Segment]:
        """Packs are never read twice: of two files with the same offsets the later one stays."""
        kept: list[Segment] = []
        for segment in sorted(segments, key=lambda one: int(one.path.stem), reverse=True):
            after = next((one.first for one in reversed(kept) if one.first >= 0), None)
            if after is not None and segment.end > after:
                self._aside(segment.path, f"packs up to {segment.end - 1} are in another file too")
            else:
                kept.append(segment)
        return kept[::-1]

    def _mend_last(self, segment: Segment) -> bool:
        """False when nothing of it is left."""
        tail, path = find_tail(segment.path, lenient=self._lenient), segment.path
        if not tail.torn:
            self._keep_tail(path, tail)
        if tail.last.end == 0 and tail.torn:
            path.unlink(missing_ok=True)
            return False
        if tail.last.end == 0:
            if not self._aside(path, "no group in it is whole"):
                path.unlink()  # else it would count once others follow it
            return False
        mend(path, tail)
        if tail.last.end != segment.size:
            self.segments[-1] = scan(path)
        return True

    def _keep_tail(self, path: Path, tail: Tail) -> None:
        self.tail.packs += tail.packs
        self.tail.next = max(self.tail.next, tail.next)
        self.tail.marks = self.tail.marks or tail.marks
        if not tail.last.end:
            return  # the file is kept whole
        reason = f"the last group is not whole: {tail.packs} packs that were never acknowledged, or damaged since"
        self.damage.append(f"{path.name}: {reason}")
        if self._quarantine is not None:
            self._quarantine.keep(path, tail.last.end, reason)

"""Past: what was read to its end, and copies of what is followed, so that rotation makes nothing be read again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from dpiped.sources.tail_file import TailFile
from dpiped.sources.tail_identify import Candidate, Resolved, is_compressed, is_copy_of, may_hold, rest_of, surest
from dpiped.sources.tail_marks import FileMark
from dpiped.sources.tail_scan import FileKey, Found

ENDED_KEPT = 1_000
"""So many ended files are remembered, to know a copy of one (`app.log.1.gz`) when it appears."""


class Past:
    """Of one set of files."""

    def __init__(self) -> None:
        self.ended: deque[FileMark] = deque(maxlen=ENDED_KEPT)
        self._copies: dict[FileKey, tuple[int, Found]] = {}
        """Copies of files that are followed, seen to be equal -> id of the file, and the copy as it was compared. They
        are not read.
        """

    def forget_all_but(self, found: dict[FileKey, Found]) -> None:
        """Copies that are not there any more."""
        self._copies = {key: copy for key, copy in self._copies.items() if key in found}

    def is_copy(self, key: FileKey, it: Candidate, file: TailFile) -> bool:
        """Whether it is a copy of a followed file, now or when it was compared as it is now."""
        if self._copies.get(key) != (file.id, it.seen) and not is_copy_of(it, file):
            return False
        self._copies[key] = file.id, it.seen
        return True

    def copies_of(self, mark: FileMark) -> Iterator[tuple[FileKey, Found]]:
        """Those of the file of a mark that the last scan saw."""
        return ((key, seen) for key, (number, seen) in self._copies.items() if number == mark.id)

    def rest_of_any(self, key: FileKey, it: Candidate) -> Resolved | None:
        """Where to read on in a file that holds what one that has ended held; the last of them counts."""
        return surest(self._rest(key, it, mark, later=False) for mark in reversed(self.ended))

    def rest_of_gone(self, key: FileKey, it: Candidate, mark: FileMark) -> Resolved | None:
        """Where to read on in a file that holds what the file of a mark held until it was taken away."""
        if not mark.offset and is_compressed(mark, it.seen):
            return Resolved(mark, it.seen, b"")
        return self._rest(key, it, mark, later=True)

    def _rest(self, key: FileKey, it: Candidate, mark: FileMark, *, later: bool) -> Resolved | None:
        sure = self._copies.get(key, (0,))[0] == mark.id
        return rest_of(mark, it, sure=sure) if sure or may_hold(mark, it, later=later) else None

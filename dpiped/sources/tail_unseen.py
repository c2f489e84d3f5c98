"""What came and went unseen: files that took the place of a followed one and left it too before anybody looked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from dpiped.sources.tail_file import TailFile
from dpiped.sources.tail_marks import FileMark, is_rotated_name
from dpiped.sources.tail_scan import LOOK_AGAIN_SECS, LOOKS, FileKey, Folders, Found

Left = list[tuple[FileMark, TailFile | None]]
"""Files that left the globs, each with the one after which those are read that took its place."""
Look = Callable[[FileMark, Folders, TailFile | None], TailFile | None]
"""Follows what is found; returns the last of it."""


def look_until_still(left: Left, near: Folders, look: Look) -> tuple[list[TailFile | None], list[FileMark]]:
    """Looks for each, and again where rotation moved files of the log meanwhile: some may have been overlooked.

    Returns: the last file that was found for each, and the marks of those that did not come to rest.
    """
    last = [before for _, before in left]
    moving = [at for at, (mark, _) in enumerate(left) if mark.written_ns]
    for again in range(LOOKS):
        if not moving:
            break
        if again:
            time.sleep(LOOK_AGAIN_SECS)
            near = Folders()
        for at in moving:
            last[at] = look(left[at][0], near, last[at])
        after = Folders()
        moving = [at for at in moving if near.as_listed(left[at][0].home) != after.as_listed(left[at][0].home)]
    return last, [left[at][0] for at in moving]


def candidates(left: FileMark, near: Folders) -> list[tuple[FileKey, Found]]:
    """What rotation may have made of files that were written after the one that `left`, the oldest first."""
    found = sorted(near.siblings(left.home).items(), key=lambda item: item[1].mtime_ns)
    return [
        (key, seen)
        for key, seen in found
        if seen.size and seen.mtime_ns > left.written_ns and is_rotated_name(seen.path, left.home)
    ]


def newest(marks: Iterable[FileMark]) -> list[FileMark]:
    """The mark of each log that was written last."""
    return list({mark.source: mark for mark in sorted(marks, key=lambda mark: (mark.written_ns, mark.id))}.values())


def is_stranger(known: TailFile, seen: Found) -> bool:
    """Whether the inode of a closed file is that of a compressed one by now, or the other way round, beside the globs.
    One of the same kind only moved on, or was truncated.
    """
    if known.reader is not None or seen.path.endswith(".gz") == known.path.endswith(".gz"):
        return False
    return not (known.head_len and known.intact(seen.path))

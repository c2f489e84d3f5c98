"""What came and went unseen: files that took the place of a followed one and left it too before anybody looked."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable

from dpiped.sources.tail_file import TailFile
from dpiped.sources.tail_identify import COPIED_GRAIN_NS, Candidate, is_copy_of, may_hold, rest_of, whole_head
from dpiped.sources.tail_marks import HEAD_BYTES, FileMark, fingerprint, is_rotated_name, path_to_text
from dpiped.sources.tail_scan import LOOK_AGAIN_SECS, LOOKS, FileKey, Folders, Found

_NUMBER = re.compile(r"\d+")

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


def candidates(left: FileMark, near: Folders, before: TailFile | None) -> list[tuple[FileKey, Found]]:
    """What rotation may have made of files that were written after the one that `left`, the oldest first. What the file
    `before` them was renamed to tells how this log's are named, beside the usual ways.
    """
    found = [item for item in near.siblings(left.home).items() if item[1].size and item[1].mtime_ns > left.written_ns]
    usual = [(key, seen) for key, seen in found if is_rotated_name(seen.path, left.home)]
    if before is not None and len(usual) < len(found):
        shape = _shape(_moved_to(before, near))
        usual += [item for item in found if item not in usual and _shape(item[1].path) == shape]
    return sorted(usual, key=lambda item: item[1].mtime_ns)


def _moved_to(file: TailFile, near: Folders) -> str:
    """The real path that it was moved to; empty if that cannot be told."""
    if file.path != file.source:
        return file.place
    seen = near.same_inode(file.home, file.key[1]).get(file.key)
    is_it = seen is not None and (file.reader is not None or (file.head_len and file.intact(seen.path)))
    return seen.path if seen is not None and is_it and seen.path != file.home else ""


def _shape(path: str) -> str:
    return _NUMBER.sub("0", path)


def is_known(it: Candidate, ended: Iterable[FileMark], alike: list[TailFile]) -> bool:
    """Whether it may hold what a file held that is or was followed.

    Args:
        alike: the followed files of its log.
    """
    marks = [(mark, False) for mark in ended] + [(file.mark, file.is_away or not file.intact()) for file in alike]
    holds = (rest_of(mark, it, sure=False) for mark, later in marks if may_hold(mark, it, later=later))
    return any(holds) or any(is_copy_of(it, file) for file in alike)


def is_new(it: Candidate, ended: Iterable[FileMark], files: Iterable[TailFile]) -> bool:
    """Whether its whole head proves that it is none that is or was followed; for a name that proves too little."""
    return bool(it.head) and it.head not in {*(mark.head for mark in ended), *map(_head_of, files)}


def _head_of(file: TailFile) -> str:
    """The hash of the whole head of a file, also if nothing was read of it yet."""
    if not file.mark.is_short:
        return file.head
    if file.reader is None:
        return whole_head(file.path)
    try:
        return fingerprint(file.reader.pread(HEAD_BYTES, 0))
    except OSError:
        return ""


def missed(key: FileKey, seen: Found, before: TailFile | None) -> FileMark:
    """The mark of a file that was moved between the look at it and its opening, as if the file `before` it had just
    left: logrotate gives what it compresses a time at which it may still have been written to.
    """
    written_ns = seen.mtime_ns - COPIED_GRAIN_NS
    if before is not None:
        written_ns = min(written_ns, before.written_ns)
    path, home = path_to_text(seen.path), path_to_text(os.path.realpath(seen.path))
    return FileMark(0, path, "", key[1], 0, "", 0, 0, False, written_ns, home)


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

"""Which file on disk is the one of a mark: after a restart, after a truncation, and for copies that rotation makes."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from dpiped.sources.tail_file import TailFile, verify
from dpiped.sources.tail_marks import (
    HEAD_BYTES,
    TAIL_BYTES,
    FileMark,
    fingerprint,
    is_backup_name,
    is_copy_name,
    is_rotated_name,
    may_name_copy,
    rotation_stem,
    same_log,
)
from dpiped.sources.tail_reader import PlainReader, open_reader
from dpiped.sources.tail_scan import LOOK_AGAIN_SECS, LOOKS, FileKey, Folders, Found, leads_to

COPIED_GRAIN_NS = 1_000_000
"""Programs that compress a file keep its mtime, but not all of its digits."""
COMPARED_BYTES = 4 << 20
"""Of what is larger, only begin and end are compared."""
_PIECE_BYTES = 256 << 10


class Resolved(NamedTuple):
    """A file and the mark at which its reading goes on."""

    mark: FileMark
    found: Found
    before: bytes
    """The bytes before the offset."""
    is_early: bool = False
    """A copy that ends before the place that had been reached. Only the head tells, and logs may begin alike."""


def surest(rests: Iterable[Resolved | None]) -> Resolved | None:
    """The first that has what was read last, else the first at all."""
    early = None
    for rest in rests:
        if rest is not None and not rest.is_early:
            return rest
        early = early or rest
    return early


def resolve(
    marks: list[FileMark], scan: Callable[[], dict[FileKey, Found]]
) -> tuple[dict[FileKey, Found], dict[FileKey, Resolved], list[FileMark]]:
    """Scans, and finds the file of each mark; again while rotation moves files of logs of which one is missed.

    Returns: what the scan saw, what was found, and the marks of files that are gone or truncated.
    """
    for again in range(LOOKS):
        if again:
            time.sleep(LOOK_AGAIN_SECS)
        folders, found = Folders(), scan()
        resolved, missing = _resolved(marks, found, folders)
        after = Folders()
        if all(folders.as_listed(mark.place) == after.as_listed(mark.place) for mark in missing):
            break
    return found, resolved, missing


def _resolved(
    marks: Iterable[FileMark], found: dict[FileKey, Found], folders: Folders
) -> tuple[dict[FileKey, Resolved], list[FileMark]]:
    """Finds the file of each mark: the same inode, the same inode out of reach of the globs but in the same folder, the
    same path, the same head under any name that the globs match, and last what rotation may have made of it out of
    their reach. Each must pass `verify`.
    """
    resolved: dict[FileKey, Resolved] = {}
    heads: dict[str, list[tuple[FileKey, Found]]] = {}

    def same_inode(mark: FileMark) -> Iterable[tuple[FileKey, Found]]:
        same = by_inode.get(mark.inode, ())
        return same if mark.head_len else [item for item in same if item[1].path == mark.path]

    def same_path(mark: FileMark) -> Iterable[tuple[FileKey, Found]]:
        return by_path.get(mark.path, ()) if mark.head_len else ()

    def same_head(mark: FileMark) -> Iterator[tuple[FileKey, Found]]:
        if not heads:
            for key, file in found.items():
                heads.setdefault(whole_head(file.path) if key not in resolved else "", []).append((key, file))
        if not mark.is_short:
            yield from heads.get(mark.head, ())
        elif mark.head_len:
            yield from _oldest_first(item for item in found.items() if same_log(item[1].path, mark.home))

    def moved(mark: FileMark) -> Iterable[tuple[FileKey, Found]]:
        near = _oldest_first(folders.siblings(mark.place).items())
        if mark.head_len:
            return near
        return [item for item in near if _is_written_on(mark, *item) or is_compressed(mark, item[1])]

    def renamed(mark: FileMark) -> Iterable[tuple[FileKey, Found]]:
        return folders.same_inode(mark.place, mark.inode).items() if mark.head_len else ()

    by_inode = _group((key[1], key, file) for key, file in found.items())
    by_path = _group((file.path, key, file) for key, file in found.items())
    missing = sorted(marks, key=lambda mark: -mark.head_len)  # who knows most of its file chooses first
    for candidates in (same_inode, renamed, same_path, same_head, moved):
        left = []
        for mark in missing:
            for key, file in candidates(mark):
                if key in resolved or not may_be(mark, key, file, by_globs=key in found):
                    continue
                before = verify(mark, file.path)
                if before is not None and leads_to(file.path, key):
                    resolved[key] = Resolved(mark, file, before)
                    break
            else:
                left.append(mark)
        missing = left
    return resolved, missing


def _oldest_first(items: Iterable[tuple[FileKey, Found]]) -> list[tuple[FileKey, Found]]:
    """A copy is older than what was copied after it."""
    return sorted(items, key=lambda item: item[1].mtime_ns)


def may_be(mark: FileMark, key: FileKey, seen: Found, *, by_globs: bool) -> bool:
    """Whether name and time allow that this is the file of a mark; the less it knows, the better they fit."""
    if not mark.head_len or _is_same_time(mark, seen):
        return True
    real = os.path.realpath(seen.path)
    if not mark.is_short:
        name = real.rpartition("/")[2]
        is_it = key[1] == mark.inode or seen.path == mark.path
        return is_it or may_name_copy(str(Path(mark.home).with_name(name)), mark.home)
    if key[1] == mark.inode:
        is_plain = rotation_stem(mark.home) == mark.home.rpartition("/")[2]
        if mark.path == seen.path or mark.place == real:  # what is written on gets longer
            return seen.size != mark.read_size
        return not by_globs or is_copy_name(real, mark.home) or (is_plain and same_log(real, mark.home))
    return is_copy_name(real, mark.home) and _is_since(mark, seen)


def _is_written_on(mark: FileMark, key: FileKey, seen: Found) -> bool:
    """Whether this is surely the file of a mark that knows no byte of it. Inodes are used again, so the time has to fit
    as well.
    """
    is_same = key[1] == mark.inode and seen.mtime_ns >= mark.written_ns > 0
    return is_same and is_rotated_name(seen.path, mark.home) and not seen.path.endswith(".gz")


def is_compressed(mark: FileMark, seen: Found) -> bool:
    """Whether this is what the file of a mark that knows no byte of it was compressed to, after it had been rotated."""
    is_gzip = mark.source != mark.path and seen.path.endswith(".gz") and is_rotated_name(seen.path, mark.home)
    return is_gzip and abs(seen.mtime_ns - mark.written_ns) < COPIED_GRAIN_NS


def _group(items: Iterable[tuple[object, FileKey, Found]]) -> dict[object, list[tuple[FileKey, Found]]]:
    groups: dict[object, list[tuple[FileKey, Found]]] = {}
    for name, key, file in items:
        groups.setdefault(name, []).append((key, file))
    return groups


def whole_head(path: str) -> str:
    """The hash of a whole head; empty when the file is shorter or cannot be read."""
    try:
        reader = open_reader(path)
    except OSError:
        return ""
    try:
        head = reader.pread(HEAD_BYTES, 0)
    except OSError:
        return ""
    finally:
        reader.close()
    return fingerprint(head) if len(head) == HEAD_BYTES else ""


def look_near(file: TailFile, near: Folders) -> bool:
    """Finds a file again that left the globs and is not open: rotation may have left it in the same folder, and moved
    it again. False: it is not there.
    """
    place = file.place
    seen = near.siblings(place).get(file.key)
    # of the same kind: then it only moved on, or was truncated if its content is another
    by_name = seen is not None and seen.path.endswith(".gz") == file.path.endswith(".gz")
    by_name = by_name and not (seen and is_backup_name(seen.path))
    seen = seen or near.same_inode(place, file.key[1]).get(file.key)
    if seen is None or not (by_name or (file.head_len and file.intact(seen.path))):
        return False
    file.path, file.hint = seen.path, (seen.size, seen.mtime_ns)
    return True


def replaced(old: TailFile, seen: Found) -> bytes | None:
    """The bytes before the offset of a followed file if another was put in its place that begins with it, else None."""
    if old.rotated_at is None or old.path != seen.path or old.mark.is_short:
        return None
    is_gone = old.is_unlinked() if old.reader is not None else not look_near(old, Folders())
    return verify(old.mark, seen.path) if is_gone else None


def may_name_copy_of(real: str, file: TailFile) -> bool:
    """Whether rotation may give such a name to a copy of a file: beside it, or anywhere if it left the globs."""
    home = file.home
    if file.rotated_at is not None:
        home = f"{real.rpartition('/')[0]}/{home.rpartition('/')[2]}"
    return may_name_copy(real, home)


def is_copy_of(candidate: Candidate, file: TailFile) -> bool:
    """Whether a file is a copy, perhaps still being made, of one that is followed and was not truncated.

    Only what still has its name is copied as it is; what was renamed is compressed at most, unless an editor copied it
    before. Of two that are equal the older one is no copy, but what logrotate compresses may have an older time.
    A log of its own may have the same content, so the names have to fit as well; where they prove little, or it is in
    another folder, a whole head is needed, or all that stood in a file that has no name any more.
    """
    seen = candidate.seen
    is_gzip, is_backup = seen.path.endswith(".gz"), is_backup_name(candidate.real)
    if file.path.endswith(".gz") or not (is_gzip or is_backup or file.path == file.source):
        return False
    if not may_name_copy_of(candidate.real, file):
        return False
    is_sure = is_copy_name(candidate.real, file.home)
    try:
        with ExitStack() as stack:
            copy = stack.enter_context(closing(open_reader(seen.path)))
            original = file.reader or stack.enter_context(closing(open_reader(file.path)))
            if original.key != file.key or not _is_begin(copy, original):
                return False
            size, mtime_ns = original.signature()
            if not is_sure and copy.size() < HEAD_BYTES and not (copy.size() == size and file.is_unlinked()):
                return False
            if is_backup or copy.size() < size or (is_gzip and copy.size() >= HEAD_BYTES):
                return True
            return seen.mtime_ns > mtime_ns - COPIED_GRAIN_NS
    except OSError:
        return False


def _is_begin(copy: PlainReader, original: PlainReader) -> bool:
    """Whether the original begins with what stands in the copy; of a large one only begin and end are compared."""
    at = 0
    while at < COMPARED_BYTES:
        piece = copy.pread(_PIECE_BYTES, at)
        if not piece:
            return at > 0
        if original.pread(len(piece), at) != piece:
            return False
        at += len(piece)
    end = copy.size()
    return original.pread(TAIL_BYTES, end - TAIL_BYTES) == copy.pread(TAIL_BYTES, end - TAIL_BYTES)


class Candidate:
    """A file that may hold what another one held. What tells that is read once, for all marks."""

    def __init__(self, key: FileKey, seen: Found) -> None:
        self.key = key
        self.seen = seen

    @cached_property
    def real(self) -> str:
        """Its real path."""
        return os.path.realpath(self.seen.path)

    @cached_property
    def head(self) -> str:
        """The hash of its whole head; empty if it is shorter."""
        return whole_head(self.seen.path)

    @property
    def is_there(self) -> bool:
        """Whether it still has its path: else it may be another file that was looked at."""
        return leads_to(self.seen.path, self.key)


def may_hold(mark: FileMark, candidate: Candidate, *, later: bool) -> bool:
    """Whether name, time and head allow that a file holds what the file of `mark`, which has ended, held.

    Args:
        later: it may have been copied after something more was written.
    """
    real, seen = candidate.real, candidate.seen
    if not mark.is_short:
        return (real == mark.place or may_name_copy(real, mark.home)) and candidate.head == mark.head
    if real != mark.place and not is_copy_name(real, mark.home):
        return False
    return _is_since(mark, seen) if later else _is_same_time(mark, seen)


def _is_same_time(mark: FileMark, seen: Found) -> bool:
    """A short content proves little: with the same mtime as well it is surely the same file, or a copy of it."""
    return abs(seen.mtime_ns - mark.read_ns) < COPIED_GRAIN_NS


def _is_since(mark: FileMark, seen: Found) -> bool:
    return seen.mtime_ns > mark.read_ns - COPIED_GRAIN_NS


def rest_of(mark: FileMark, candidate: Candidate, *, sure: bool) -> Resolved | None:
    """Where to read on in a file if it holds what the file of `mark`, which has ended, held; None if it does not.

    A copy that ends before the mark was made before the last lines were read: nothing of it is left to be read. That
    counts only if the copy is `sure`, because it was compared with the file while both were there, or has a whole head
    to tell by and another name: what is in the very place of the file is a new one that begins alike.
    """
    seen, path = candidate.seen, candidate.seen.path
    if not mark.head_len:
        return None
    before = verify(mark, path)
    if before is not None:
        return Resolved(mark, seen, before)
    if not sure and (mark.is_short or candidate.head != mark.head or candidate.real == mark.place):
        return None
    try:
        reader = open_reader(path)
    except OSError:
        return None
    try:
        end = reader.size()
        first = max(0, end - TAIL_BYTES)
        tail = reader.pread(end - first, first)
    except OSError:
        return None
    finally:
        reader.close()
    if end >= mark.offset:
        return None
    at_end = msgspec.structs.replace(mark, offset=end, tail=zlib.crc32(tail), skip=False)
    return Resolved(at_end, seen, tail, is_early=True)

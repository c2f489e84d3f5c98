"""Which file on disk is the one of a mark: after a restart, after a truncation, and for copies that rotation makes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from dpiped.sources.tail_file import TailFile, verify
from dpiped.sources.tail_marks import HEAD_BYTES, TAIL_BYTES, FileMark, fingerprint, is_rotated_name, same_log
from dpiped.sources.tail_reader import open_reader
from dpiped.sources.tail_scan import FileKey, Folders, Found

COPIED_GRAIN_NS = 1_000_000
"""Programs that compress a file keep its mtime, but not all of its digits."""


class Resolved(NamedTuple):
    """A file and the mark at which its reading goes on."""

    mark: FileMark
    found: Found
    before: bytes
    """The bytes before the offset."""


def resolve(marks: Iterable[FileMark], found: dict[FileKey, Found]) -> tuple[dict[FileKey, Resolved], list[FileMark]]:
    """Finds the file of each mark: the same inode, the same path, the same head under any name that the globs match,
    and last what rotation may have moved out of their reach. Each must pass `verify`.

    Returns: what was found, and the marks of files that are gone or truncated.
    """
    resolved: dict[FileKey, Resolved] = {}
    heads: dict[str, list[tuple[FileKey, Found]]] = {}
    folders = Folders()

    def same_inode(mark: FileMark) -> Iterable[tuple[FileKey, Found]]:
        same = by_inode.get(mark.inode, ())
        return same if mark.head_len else [item for item in same if item[1].path == mark.path]

    def same_path(mark: FileMark) -> Iterable[tuple[FileKey, Found]]:
        return by_path.get(mark.path, ()) if mark.head_len else ()

    def same_head(mark: FileMark) -> Iterator[tuple[FileKey, Found]]:
        if not heads:
            for key, file in found.items():
                heads.setdefault(_head(file.path) if key not in resolved else "", []).append((key, file))
        if mark.head_len == HEAD_BYTES:
            yield from heads.get(mark.head, ())
        elif mark.head_len:
            yield from (item for item in found.items() if same_log(item[1].path, mark.path))

    def moved(mark: FileMark) -> Iterable[tuple[FileKey, Found]]:
        near = folders.siblings(mark.path).items()
        if mark.head_len:
            return near
        return [item for item in near if _is_written_on(mark, *item) or is_compressed(mark, item[1])]

    by_inode = _group((key[1], key, file) for key, file in found.items())
    by_path = _group((file.path, key, file) for key, file in found.items())
    missing = sorted(marks, key=lambda mark: -mark.head_len)  # who knows most of its file chooses first
    for candidates in (same_inode, same_path, same_head, moved):
        left = []
        for mark in missing:
            for key, file in candidates(mark):
                before = verify(mark, file.path) if key not in resolved else None
                if before is not None:
                    resolved[key] = Resolved(mark, file, before)
                    break
            else:
                left.append(mark)
        missing = left
    return resolved, missing


def _is_written_on(mark: FileMark, key: FileKey, seen: Found) -> bool:
    """Whether this is surely the file of a mark that knows no byte of it. Inodes are used again, so the time has to fit
    as well.
    """
    is_same = key[1] == mark.inode and seen.mtime_ns >= mark.written_ns > 0
    return is_same and is_rotated_name(seen.path, mark.source) and not seen.path.endswith(".gz")


def is_compressed(mark: FileMark, seen: Found) -> bool:
    """Whether this is what the file of a mark that knows no byte of it was compressed to, after it had been rotated."""
    is_gzip = mark.source != mark.path and seen.path.endswith(".gz") and is_rotated_name(seen.path, mark.source)
    return is_gzip and abs(seen.mtime_ns - mark.written_ns) < COPIED_GRAIN_NS


def _group(items: Iterable[tuple[object, FileKey, Found]]) -> dict[object, list[tuple[FileKey, Found]]]:
    groups: dict[object, list[tuple[FileKey, Found]]] = {}
    for name, key, file in items:
        groups.setdefault(name, []).append((key, file))
    return groups


def _head(path: str, length: int = HEAD_BYTES) -> str:
    """The hash of the first bytes, by default of a whole head; empty when the file is shorter or cannot be read."""
    try:
        reader = open_reader(path)
    except OSError:
        return ""
    try:
        head = reader.pread(length, 0)
    except OSError:
        return ""
    finally:
        reader.close()
    return fingerprint(head) if len(head) == length else ""


def is_copy_of(path: str, file: TailFile) -> bool:
    """Whether `path` holds a copy, perhaps still being made, of a file that is followed and was not truncated.

    True only if its first bytes and its last ones stand at the same places in the file, so that a log of its own that
    begins alike is not taken for a copy.
    """
    if not same_log(path, file.source) or path == file.source:
        return False
    try:
        copy = open_reader(path)
    except OSError:
        return False
    try:
        head = copy.pread(HEAD_BYTES, 0)
        original = file.reader or open_reader(file.path)
        try:
            if not head or original.pread(len(head), 0) != head:
                return False
            end = copy.size()  # reads all of a gzip file
            first = max(0, end - TAIL_BYTES)
            return original.pread(end - first, first) == copy.pread(end - first, first)
        finally:
            if original is not file.reader:
                original.close()
    except OSError:
        return False
    finally:
        copy.close()


def may_hold(mark: FileMark, seen: Found) -> bool:
    """Whether a file may hold what the file of `mark` held; where that has a short head, the head is all there is to
    tell by.
    """
    if mark.head_len == HEAD_BYTES:
        return rest_of(mark, seen, sure=False) is not None
    same = mark.head_len > 0 and same_log(seen.path, mark.source)
    return same and _head(seen.path, mark.head_len) == mark.head


def rest_of(mark: FileMark, seen: Found, *, sure: bool) -> Resolved | None:
    """Where to read on in a file if it holds what the file of `mark`, which has ended, held; None if it does not.

    A copy that ends before the mark was made before the last lines were read: nothing of it is left to be read. That
    counts only if the copy is `sure`, because it was compared with the file while both were there, or has a whole head
    to tell by.
    """
    path = seen.path
    if not mark.head_len or not same_log(path, mark.source):
        return None
    before = verify(mark, path)
    if before is not None:
        return Resolved(mark, seen, before)
    if not sure and (mark.head_len < HEAD_BYTES or _head(path) != mark.head):
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
    return Resolved(msgspec.structs.replace(mark, offset=end, tail=zlib.crc32(tail), skip=False), seen, tail)

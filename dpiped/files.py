"""Files that are whole after a crash, and names that are durable."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from dpiped.crashpoint import crash_point

_IOV_MAX = 512
"""So many pieces are handed to the kernel at a time; it takes 1,024."""


_UNSYNCED = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS, errno.ENOTSUP)
"""A folder above may be closed to us, or of a file system that syncs none: its names are as durable as they get."""


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Makes a folder that is not there, and those above it, with durable names. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()] or [folder]
    for each in reversed(missing):
        each.mkdir(mode=0o750, exist_ok=True)
        try:
            sync_folder(each.parent)
        except OSError as exc:
            if exc.errno not in _UNSYNCED:
                raise


def write_synced(path: Path, data: bytes) -> None:
    """Replaces a file so that a crash leaves the old one or the new one, whole. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    write_anew(temporary, [data])
    crash_point("file.written")
    temporary.replace(path)
    crash_point("file.renamed")
    sync_folder(path.parent)


def write_anew(path: Path, pieces: Sequence[bytes]) -> None:
    """Writes a file from its begin and syncs it, but not its name. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        write_all(fd, pieces)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, pieces: Sequence[bytes]) -> int:
    """Writes all pieces in order, whatever the kernel takes at a time; returns the bytes written. Raises OSError."""
    left = [memoryview(piece) for piece in pieces if piece]
    total = 0
    while left:
        done = os.writev(fd, left[:_IOV_MAX])
        total += done
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]
    return total

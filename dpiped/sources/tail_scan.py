"""Which files there are: globs, exclude patterns, and siblings that rotation made out of reach of the globs."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import NamedTuple

from dpiped.sources.tail_marks import same_log

FileKey = tuple[int, int]
"""(device, inode): names an open or existing file while the program runs; nothing of it is trusted after a restart."""


class Found(NamedTuple):
    """A regular file that a pattern matched."""

    path: str
    size: int
    mtime_ns: int


def key_of(status: os.stat_result) -> FileKey:
    return status.st_dev, status.st_ino


def is_excluded(path: str, exclude: Sequence[str]) -> bool:
    """A pattern with a slash is compared with the path, one without with the base name."""
    name = path.rpartition("/")[2]
    return any(fnmatch(path if "/" in pattern else name, pattern) for pattern in exclude)


def scan(patterns: Sequence[str], exclude: Sequence[str]) -> dict[FileKey, Found]:
    """All files that match, each once: symlinks are followed, and of several names the first in order counts.

    Blocks for as long as the file system takes: call it in a thread.
    """
    found: dict[FileKey, Found] = {}
    for path in sorted({path for pattern in patterns for path in _matches(pattern)}):
        if is_excluded(path, exclude):
            continue
        try:
            status = os.stat(path)  # noqa: PTH116 - a Path object for each of 1,000 files a second is waste
        except OSError:  # vanished between the two calls, or a dangling link: the next scan sees it if it returns
            continue
        if stat.S_ISREG(status.st_mode):
            found.setdefault(key_of(status), Found(path, status.st_size, status.st_mtime_ns))
    return found


def _matches(pattern: str) -> Iterator[str]:
    return glob.iglob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern


def siblings(path: str) -> dict[FileKey, Found]:
    """Files in the folder of `path` whose names rotation may have made of it: where a file went that left the glob."""
    folder = os.path.dirname(os.path.realpath(path))  # noqa: PTH120
    found: dict[FileKey, Found] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and same_log(entry.name, path):
                    status = entry.stat()
                    found[key_of(status)] = Found(entry.path, status.st_size, status.st_mtime_ns)
    except OSError:  # the folder is gone or closed to us: nothing to be found in it
        return found
    return found

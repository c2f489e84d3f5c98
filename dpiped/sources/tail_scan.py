"""Which files there are: globs, exclude patterns, and siblings that rotation made out of reach of the globs."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import NamedTuple

from dpiped.sources.tail_marks import rotation_stem

LOOKS = 5
"""So often is looked again when rotation moved files meanwhile; what was read by a path may be of another file then."""
LOOK_AGAIN_SECS = 0.02
FileKey = tuple[int, int]
"""(device, inode): names an open or existing file while the program runs; nothing of it is trusted after a restart."""


PACKED = (".zst", ".zstd", ".xz", ".lzma", ".bz2", ".lz4", ".Z", ".zip", ".7z")
"""Ends of names of files that are compressed otherwise than by gzip. Their lines cannot be read here."""


class Found(NamedTuple):
    """A regular file that a pattern matched."""

    path: str
    size: int
    mtime_ns: int


def key_of(status: os.stat_result) -> FileKey:
    return status.st_dev, status.st_ino


def leads_to(path: str, key: FileKey) -> bool:
    """Whether a path is that of a file. What was read by it before was read of that file then, for rotation brings no
    file back to a name that it had.
    """
    try:
        return key_of(os.stat(path)) == key  # noqa: PTH116 - as below
    except OSError:
        return False


def is_excluded(path: str, exclude: Sequence[str]) -> bool:
    """A pattern with a slash is compared with the path, one without with the base name."""
    name = path.rpartition("/")[2]
    return any(fnmatch(path if "/" in pattern else name, pattern) for pattern in exclude)


class Globs:
    """Patterns; `unmatched`: those that matched no file in any scan so far; `packed`: what the last scan left out."""

    def __init__(self, patterns: Sequence[str], exclude: Sequence[str]) -> None:
        self._patterns = tuple(dict.fromkeys(patterns))
        self._exclude = exclude
        self.unmatched = self._patterns
        self.packed: tuple[str, ...] = ()

    def scan(self) -> dict[FileKey, Found]:
        """All files that match, each once: symlinks are followed, and of several names the first in order counts.

        Blocks for as long as the file system takes: call it in a thread.
        """
        found: dict[FileKey, Found] = {}
        files: set[str] = set()
        packed = []
        matches = {pattern: set(_matches(pattern)) for pattern in self._patterns}
        for path in sorted(set().union(*matches.values())):
            if is_excluded(path, self._exclude):
                continue
            try:
                status = os.stat(path)  # noqa: PTH116 - a Path object for each of 1,000 files a second is waste
            except OSError:  # vanished between the two calls, or a dangling link: the next scan sees it if it returns
                continue
            if stat.S_ISREG(status.st_mode):
                files.add(path)
                if path.endswith(PACKED):
                    packed.append(path)
                else:
                    found.setdefault(key_of(status), Found(path, status.st_size, status.st_mtime_ns))
        self.packed = tuple(packed)
        self.unmatched = tuple(pattern for pattern in self.unmatched if files.isdisjoint(matches[pattern]))
        return found


def scan(patterns: Sequence[str], exclude: Sequence[str]) -> dict[FileKey, Found]:
    """All files that match now."""
    return Globs(patterns, exclude).scan()


def _matches(pattern: str) -> Iterator[str]:
    """As `glob` with `recursive`, which follows links in a circle as often as a path may be long."""
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 - Path.glob takes no absolute pattern
        return
    at = parts.index("**")
    rest = "/".join(parts[at + 1 :] or "*")
    for top in glob.iglob("/".join([*parts[:at], ""])) if at else [""]:  # noqa: PTH207 - as above
        for folder in _folders(top):
            yield from _matches(glob.escape(folder) + rest)


def _folders(top: str) -> Iterator[str]:
    """A folder and all below it but hidden ones; each once, by the name that is first in order. They end in a slash."""
    known: set[FileKey] = set()
    left = [top]
    while left:
        folder = left.pop()
        try:
            key = key_of(os.stat(folder or "."))  # noqa: PTH116 - as above
            if key in known:
                continue
            known.add(key)
            with os.scandir(folder or ".") as entries:
                below = [f"{folder}{entry.name}/" for entry in entries if entry.name[0] != "." and _is_folder(entry)]
        except OSError:  # gone, or closed to us
            continue
        yield folder
        left += sorted(below, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


class Folders:
    """What stands near files, each folder listed once. For one pass: a listing goes out of date."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str | int, list[tuple[str, int]]]] = {}
        """folder -> stem or inode -> names and inodes of its files."""

    def siblings(self, place: str) -> dict[FileKey, Found]:
        """Files in the folder of a real path whose names rotation may have made of it: where a file went that left the
        glob.
        """
        return self._named(place, rotation_stem(place))

    def same_inode(self, place: str, inode: int) -> dict[FileKey, Found]:
        """The file of that inode in the same folder, whatever its name."""
        return {key: seen for key, seen in self._named(place, inode).items() if key[1] == inode}

    def as_listed(self, place: str) -> set[tuple[str, int]]:
        """What the listing says of `siblings`: if a later one says the same, none of them was moved meanwhile."""
        return set(self._entries(place, rotation_stem(place)))

    def _entries(self, place: str, by: str | int) -> Sequence[tuple[str, int]]:
        folder = os.path.dirname(place)  # noqa: PTH120
        if folder not in self._listed:
            self._listed[folder] = _listing(folder)
        return self._listed[folder].get(by, ())

    def _named(self, place: str, by: str | int) -> dict[FileKey, Found]:
        folder = os.path.dirname(place)  # noqa: PTH120
        found: dict[FileKey, Found] = {}
        for name, _ in self._entries(place, by):
            near = f"{folder}/{name}"
            try:
                status = os.stat(near, follow_symlinks=False)  # noqa: PTH116 - as above
            except OSError:  # gone since it was listed
                continue
            if stat.S_ISREG(status.st_mode):
                found[key_of(status)] = Found(near, status.st_size, status.st_mtime_ns)
        return found


def siblings(place: str) -> dict[FileKey, Found]:
    """As they are now."""
    return Folders().siblings(place)


def _listing(folder: str) -> dict[str | int, list[tuple[str, int]]]:
    """Names by what they are without what rotation adds, and by inode; none if the folder is gone or closed to us."""
    names: dict[str | int, list[tuple[str, int]]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                named = entry.name, entry.inode()
                names.setdefault(rotation_stem(entry.name), []).append(named)
                names.setdefault(entry.inode(), []).append(named)
    except OSError:
        pass
    return names

"""Which plugin of this process writes a file: one alone, whatever paths and links lead to it.

A plugin that cuts files back after a crash would cut away what another has appended.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

Owner = tuple[Path | None, str]
"""data_dir and name of a plugin: the same after it was started again."""
FileKey = tuple[int, int]
"""Device and inode."""
_owners: dict[FileKey, tuple[Owner, str]] = {}
"""Who claims a file, and by which path."""
_lock = threading.Lock()
"""Plugins look and claim in threads of their own."""


class Claims:
    """Of one plugin. Safe to use from threads."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._claimed: dict[str, FileKey] = {}

    def claim(self, path: str, stat: os.stat_result) -> str | None:
        """Claims the file that was found at this path; the name of the other plugin if it is taken."""
        key = stat.st_dev, stat.st_ino
        with _lock:
            owner, claimed = _owners.get(key, (self._owner, path))
            if owner != self._owner and _is_at(claimed, key):
                return owner[1]
            _owners[key] = self._owner, path  # else its file was removed, and the inode is used again
            before = self._claimed.get(path)
            self._claimed[path] = key
            if before is not None and before != key:
                self._give_back(before)
        return None

    def keep(self, paths: set[str]) -> None:
        """Gives back all but these."""
        with _lock:
            for path in self._claimed.keys() - paths:
                self._give_back(self._claimed.pop(path))

    def _give_back(self, key: FileKey) -> None:
        if key not in self._claimed.values() and _owners.get(key, (None,))[0] == self._owner:
            del _owners[key]


def _is_at(path: str, key: FileKey) -> bool:
    try:
        stat = os.stat(path)  # noqa: PTH116 - as the file output has it
    except OSError:
        return False
    return (stat.st_dev, stat.st_ino) == key

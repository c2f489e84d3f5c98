"""Which plugin of this process writes a file: one alone, whatever paths and links lead to it.

A plugin that cuts files back after a crash would cut away what another has appended.
"""

from __future__ import annotations

import os
from pathlib import Path

Owner = tuple[Path | None, str]
"""data_dir and name of a plugin: the same after it was started again."""
_owners: dict[tuple[int, int], Owner] = {}
"""(device, inode) -> who claims it."""


class Claims:
    """Of one plugin. Safe to use from threads."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._claimed: dict[str, tuple[int, int]] = {}

    def claim(self, path: str, stat: os.stat_result) -> str | None:
        """Claims the file that was found at this path; the name of the other plugin if it is taken."""
        key = stat.st_dev, stat.st_ino
        owner = _owners.setdefault(key, self._owner)
        if owner != self._owner:
            return owner[1]
        self._claimed[path] = key
        return None

    def keep(self, paths: set[str]) -> None:
        """Gives back all but these."""
        for path in self._claimed.keys() - paths:
            key = self._claimed.pop(path)
            if key not in self._claimed.values():
                _owners.pop(key, None)

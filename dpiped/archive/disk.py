"""Files of this machine, and what is mounted on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpiped.archive.place import Place
from dpiped.archive.unpack import Readable
from dpiped.sources.tail_scan import scan


class Disk(Place):
    """Files that globs match; a folder stands for all files in it."""

    def __init__(self, paths: Sequence[str], exclude: Sequence[str]) -> None:
        self._paths = paths
        self._exclude = exclude

    def scan(self) -> dict[str, int]:
        globs = [f"{path.rstrip('/')}/**" if Path(path).is_dir() else path for path in self._paths]
        return {found.path: found.size for found in scan(globs, self._exclude).values()}

    def open(self, path: str, size: int) -> Readable:
        return Path(path).open("rb")

    def has_grown(self, path: str, size: int) -> bool:
        try:
            return Path(path).stat().st_size > size
        except OSError:  # gone meanwhile, which is nobody's loss: it was read
            return False

"""Index: the followed files by their paths and by the logs that they are of."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from dpiped.sources.tail_file import TailFile
from dpiped.sources.tail_marks import log_of
from dpiped.sources.tail_scan import FileKey


class Index:
    """Of `files`, which are the followed ones at any time, as they were when it was renewed, and those added since."""

    def __init__(self, files: Mapping[FileKey, TailFile]) -> None:
        self._files = files
        self._by_path: dict[str, TailFile] = {}
        self._by_log: dict[tuple[str, str], list[TailFile]] = {}
        self._away: dict[str, list[TailFile]] = {}
        """Those that left the globs, by their name without what rotation adds: a copy of one may be in any folder."""

    def renew(self) -> None:
        self._by_path, self._by_log, self._away = {}, {}, {}
        for file in self._files.values():
            self.add(file)

    def add(self, file: TailFile) -> None:
        self._by_path[file.source] = self._by_path[file.path] = file
        log = log_of(file.home)
        self._by_log.setdefault(log, []).append(file)
        if file.rotated_at is not None:
            self._away.setdefault(log[1], []).append(file)

    def newest(self, path: str) -> TailFile | None:
        """The last file that had this path, or is followed by it."""
        return self._by_path.get(path)

    def alike(self, real: str) -> list[TailFile]:
        """The files that are still followed and of which a real path may name a copy."""
        log = log_of(real)
        near, away = self._by_log.get(log, []), self._away.get(log[1], [])
        files = near + [file for file in away if log_of(file.home) != log]
        return [file for file in files if self._files.get(file.key) is file]

    def without_heir(self, paths: Container[str]) -> Iterator[TailFile]:
        """Files that left when no other had come by their name, which is none of these paths: one may come and go."""
        for file in self._files.values():
            if file.rotated_at is not None and file.source not in paths and self._by_path.get(file.source) is file:
                yield file

"""The data folder: its version and its lock. One daemon (or collector) a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dpiped.errors import DpipeError, LockedError

VERSION = "1"
UMASK = 0o027
"""Of daemon and collector, whatever the caller's is: files are 0640, folders 0750, also those that libraries make."""


class DataDir:
    """`lock` makes the folder and takes it; the lock is the kernel's, so nothing is stale after a crash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def lock(self) -> None:
        """Raises LockedError when another process has it, DpipeError when it cannot be used."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o640)
        except OSError as exc:
            raise DpipeError(f"data_dir {self.path}: {exc.strerror}; choose a folder that can be written") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            other = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            self.unlock()
            raise LockedError(
                f"data_dir {self.path} is in use by process {other}: stop it or set another data_dir"
            ) from exc
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        self._check_version()

    def lock_shared(self) -> None:
        """For who only reads, and writes nothing: raises LockedError while a daemon has the folder."""
        try:
            self._fd = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError as exc:
            raise DpipeError(f"{self.path} is no data_dir: there is no file `lock` in it") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as exc:
            self.unlock()
            raise LockedError(f"data_dir {self.path} is in use by a running daemon") from exc
        self._check_version()

    def _check_version(self) -> None:
        file = self.path / "VERSION"
        if not file.exists():
            file.write_text(VERSION + "\n", encoding="ascii")
            return
        found = file.read_text(encoding="ascii", errors="replace").strip()
        if found != VERSION:
            self.unlock()
            raise DpipeError(
                f"data_dir {self.path} has layout {found!r}, this dpiped knows {VERSION!r}: use its own version"
            )

    def unlock(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

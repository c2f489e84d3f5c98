"""The data folder: its version and its lock. One daemon (or collector) a folder.

`VERSION` is one line: the number of the layout and its CRC-32 in hex, so that a flipped bit is not taken for another
version. Layout 1 had the number alone.

    2 1ad5be0d
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from zlib import crc32

from dpiped.errors import DpipeError, LockedError
from dpiped.files import make_folder, write_synced
from dpiped.quarantine import Quarantine
from dpiped.telemetry import Telemetry

VERSION = 2
MIGRATED = (1,)
"""Older layouts that are made today's: values in LevelDB get seals, see leveldb.py; checkpoint.json as well."""
READERS_SECS = 5.0
"""A start waits so long for commands that only read."""
READERS_POLL_SECS = 0.02
UMASK = 0o027
"""Of daemon and collector, whatever the caller's is: files are 0640, folders 0750, also those that libraries make."""


class DataDir:
    """`lock` makes the folder and takes it; the lock is the kernel's, so nothing is stale after a crash."""

    def __init__(self, path: Path, telemetry: Telemetry | None = None) -> None:
        self.path = path
        self._telemetry = telemetry or Telemetry()
        self._fd = -1

    def lock(self) -> None:
        """Raises LockedError when another process has it, DpipeError when it cannot be used."""
        try:
            make_folder(self.path)
            self._fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as exc:
            raise DpipeError(f"data_dir {self.path}: {exc.strerror}; choose a folder that can be written") from exc
        if not self._take():
            other = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            self.unlock()
            raise LockedError(f"data_dir {self.path} is in use by process {other}: stop it or set another data_dir")
        try:
            self._write_pid()
            self._check_version()
        except (DpipeError, OSError):
            self.unlock()
            raise

    def _take(self) -> bool:
        """Waits a while for those who only read."""
        until = time.monotonic() + READERS_SECS
        while not _flock(self._fd, fcntl.LOCK_EX):
            if not _flock(self._fd, fcntl.LOCK_SH) or time.monotonic() > until:
                return False
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            time.sleep(READERS_POLL_SECS)
        return True

    def _write_pid(self) -> None:
        """Only for the message of another process: a disk that is full keeps nobody from the lock."""
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as exc:
            self._telemetry.say("the lock does not name this process", detail=exc.strerror or str(exc))

    def lock_shared(self) -> None:
        """For who only reads, and writes nothing: raises LockedError while a daemon has the folder."""
        try:
            self._fd = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError as exc:
            raise DpipeError(f"{self.path} is no data_dir: there is no file `lock` in it") from exc
        if not _flock(self._fd, fcntl.LOCK_SH):
            self.unlock()
            raise LockedError(f"data_dir {self.path} is in use by a running daemon")
        try:
            self._known_version()
        except (DpipeError, OSError):
            self.unlock()
            raise

    def owner(self) -> int | None:
        """The process that has it, or had it last. Raises OSError."""
        said = (self.path / "lock").read_text("ascii", errors="replace").strip()
        return int(said) if said.isdigit() else None

    def _known_version(self) -> int | None:
        """None when it is not there, or damaged. Raises DpipeError for one of which nothing is known."""
        file = self.path / "VERSION"
        found = _parse(file.read_bytes()) if file.exists() else None
        if found is not None and found > VERSION:
            raise DpipeError(
                f"data_dir {self.path} has layout {found}, this version knows {VERSION}: start the newer one"
            )
        if found is not None and found not in (VERSION, *MIGRATED):
            raise DpipeError(f"data_dir {self.path} has layout {found}, of which nothing is known: use its own version")
        return found

    def _check_version(self) -> None:
        file = self.path / "VERSION"
        found = self._known_version()
        if found == VERSION:
            return
        if found is None and file.exists():
            Quarantine(self.path, self._telemetry).take(file, "damaged; each part of the data tells its version too")
        if found is not None:
            self._telemetry.say("data_dir is migrated", detail=f"layout {found} to {VERSION}")
        write_synced(file, version_line(VERSION))

    def unlock(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _flock(fd: int, how: int) -> bool:
    """Whether the lock was to be had at once. Raises OSError when there is none to be had ever."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def version_line(version: int) -> bytes:
    """The content of VERSION."""
    return f"{version} {crc32(str(version).encode()):08x}\n".encode()


def _parse(content: bytes) -> int | None:
    """The layout; None when it is damaged."""
    words = content.split()
    if not words or len(words) > 2 or not words[0].isdigit() or len(words[0]) > 9:
        return None
    version = int(words[0])
    is_sound = content == version_line(version) if len(words) == 2 else version != VERSION
    return version if is_sound else None

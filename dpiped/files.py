"""Files that are whole after a crash, and names that are durable."""

from __future__ import annotations

import os
from pathlib import Path

from dpiped.crashpoint import crash_point


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, data: bytes) -> None:
    """Replaces a file so that a crash leaves the old one or the new one, whole. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    crash_point("file.written")
    temporary.replace(path)
    crash_point("file.renamed")
    sync_folder(path.parent)

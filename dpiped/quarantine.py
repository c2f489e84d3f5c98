"""Quarantine: what is damaged or foreign in a data_dir is moved to its `quarantine/`, with the date, never deleted.

    quarantine/20261122T010203Z-journal-00000000000000000300.seg
    quarantine/20261122T010203Z-state-traffic.1.msgpack           of a filter: [cursor line, [[key, value] ..]]

No method of Quarantine raises OSError: what cannot be moved is said and left, and whoever asked goes on without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from dpiped.files import make_folder, sync_folder
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import Quarantined

if TYPE_CHECKING:
    from dpiped.journal.state import Saved


class Quarantine:
    """The folder of one data_dir. Blocking; thread-safe."""

    def __init__(self, data_dir: Path, telemetry: Telemetry) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "quarantine"
        self._telemetry = telemetry

    def take(self, path: Path, reason: str, known_as: Path | None = None) -> bool:
        """Moves a file or folder away, and reports it; False when it could not be moved. `known_as`: what it is called
        there, if its name is one for the moment.
        """
        known_as = known_as or path
        try:
            target = self._target(known_as)
            path.rename(target)
            sync_folder(path.parent)
        except OSError as exc:
            text = f"{path}: {reason}; it cannot be moved to {self._folder} ({exc.strerror or exc})"
            self._telemetry.say("damaged data stays where it is", detail=text, level=logging.ERROR)
            return False
        self._tell(known_as, target, reason)
        return True

    def keep(self, path: Path, begin: int, reason: str) -> None:
        """Keeps a copy of the end of a file that is about to be cut."""
        try:
            with path.open("rb") as source:
                source.seek(begin)
                data = source.read()
            target = self._target(path)
            with _new_file(target) as file:
                file.write(data)
        except OSError as exc:
            text = f"{path}: {reason}; no copy of it could be kept ({exc.strerror or exc})"
            self._telemetry.say("damaged data is cut", detail=text, level=logging.ERROR)
            return
        self._tell(path, target, reason)

    def _target(self, path: Path) -> Path:
        return _free_place(self._folder, "-".join(path.relative_to(self._data_dir).parts))

    def _tell(self, path: Path, target: Path, reason: str) -> None:
        place = path.relative_to(self._data_dir).parts[0]
        self._telemetry.emit(Quarantined(place=place, what=path.name, kept_as=str(target), reason=reason))


def set_aside(data_dir: Path, name: str, saved: Saved, snapshot: Sequence[tuple[bytes, bytes]]) -> Path:
    """Keeps the state of a filter that begins anew, synced. Raises OSError."""
    path = _free_place(data_dir / "quarantine", f"state-{name}.{saved.generation}.msgpack")
    with _new_file(path) as file:
        file.write(msgspec.msgpack.encode((saved, list(snapshot))))
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return path


def _free_place(folder: Path, what: str) -> Path:
    """A name in the quarantine that is free; the folder is made."""
    make_folder(folder)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{what}"
    target, number = folder / name, 1
    while target.exists():
        number += 1
        target = folder / f"{name}.{number}"
    return target


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), "wb")

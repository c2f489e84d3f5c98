"""The disk after a power failure, made from what recorder.c saw: what was synced is there, of the rest any part."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.faults.shim import build

SOURCE = Path(__file__).with_name("recorder.c")
_HEAD = struct.Struct("<c3xIIIQQ")
"""Kind, thread, bytes of the first and of the second string, inode, place; see recorder.c."""
_LEVELDB = "CURRENT"
"""Folders with a file of this name are LevelDB's. It counts on what the usual file systems do: the sync of a file makes
its name durable too."""


Kept = random.Random | Literal["all", "synced"]
"""What was there when the power failed: any part of what was not synced, all of it, or nothing of it."""


@dataclass
class _Change:
    """Of a file: data at a place, or a new size."""

    number: int
    at: int
    data: bytes | None = None


@dataclass
class _File:
    content: bytearray
    """What is on the disk for sure."""
    changes: list[_Change] = field(default_factory=list)

    def sync(self, before: int) -> None:
        while self.changes and self.changes[0].number < before:
            _apply(self.content, self.changes.pop(0))


@dataclass
class _Naming:
    """A change of names: a file or folder (None) is made, renamed or removed."""

    kind: Literal["make", "rename", "remove"]
    path: Path
    to: Path | None = None
    file: _File | None = None
    durable: bool = False

    @property
    def folders(self) -> set[Path]:
        return {path.parent for path in (self.path, self.to) if path is not None}


class Disk:
    """Some folders, and what a process that is started with `environ` does to them. One that was not there is made."""

    def __init__(self, work: Path, name: str, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._log = work / f"{name}.changes"
        self._aside = work / f"{name}.before"
        self._aside.mkdir()
        self.environ = {
            "LD_PRELOAD": str(build(work, SOURCE)),
            "RECORDER_FOLDERS": ":".join(map(str, folders)),
            "RECORDER_LOG": str(self._log),
        }

    def begin(self) -> None:
        """Right before a start: what is there now is on the disk for sure."""
        self._log.unlink(missing_ok=True)
        self._names: dict[Path, _File | None] = {}
        self._files: dict[int, _File] = {}
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.rglob("*")):
                is_file = path.is_file()
                self._names[path] = _File(bytearray(path.read_bytes())) if is_file else None
                if (file := self._names[path]) is not None:
                    self._files[path.stat().st_ino] = file

    def fail(self, kept: Kept) -> None:
        """After the process was killed: the power fails too."""
        namings = self._read()
        stay = _stay(namings, kept)
        self._rename(stay)
        lost = [f"{naming.kind} {naming.path} {naming.to or ''}\n" for naming in namings if naming not in stay]
        self._log.with_suffix(".lost").write_text("".join(lost))
        inodes = {id(file): inode for inode, file in self._files.items()}
        for number, folder in enumerate(self._folders):
            old = self._aside / str(number)
            folder.rename(old)
            folder.mkdir(mode=0o750)
            there = {path.stat().st_ino: path for path in old.rglob("*")}
            for path, file in sorted(self._names.items()):
                if folder not in path.parents or not path.parent.is_dir():
                    continue
                if file is None:
                    path.mkdir(mode=0o750)
                    continue
                if (before := there.get(inodes.get(id(file), 0))) is not None:
                    before.rename(path)  # who knows a file by its inode finds it
                path.write_bytes(_content(file, kept))
                path.chmod(0o640)
            shutil.rmtree(old)

    def _read(self) -> list[_Naming]:
        """Takes in what was recorded; the changes of names."""
        namings: list[_Naming] = []
        begun: dict[int, tuple[int, int]] = {}
        names = dict(self._names)  # as the process sees them
        for number, (kind, thread, inode, at, first, second) in enumerate(_records(self._log)):
            path = Path(first.decode("utf-8", "replace"))
            match kind:
                case b"C" | b"M":
                    file = None
                    if kind == b"C":
                        file = self._files[inode] = _File(bytearray())
                    names[path] = file
                    namings.append(_Naming("make", path, file=file))
                case b"W" | b"T":
                    if inode in self._files:
                        data = first if kind == b"W" else None
                        self._files[inode].changes.append(_Change(number, at, data))
                case b"R":
                    to = Path(second.decode())
                    _move(names, path, to)
                    namings.append(_Naming("rename", path, to))
                case b"U":
                    names.pop(path, None)
                    namings.append(_Naming("remove", path))
                case b"B":
                    begun[thread] = number, len(namings)
                case b"S":
                    before, named = begun.pop(thread)
                    if first:
                        _mark(namings[:named], path)
                    elif inode in self._files:
                        self._files[inode].sync(before)
                        place = next((path for path, file in names.items() if file is self._files[inode]), None)
                        if place is not None and place.with_name(_LEVELDB) in names:
                            _mark(namings[:named], place.parent)
        return namings

    def _rename(self, namings: Sequence[_Naming]) -> None:
        for naming in namings:
            match naming.kind:
                case "make":
                    self._names[naming.path] = naming.file
                case "rename" if naming.to is not None and naming.path in self._names:
                    _move(self._names, naming.path, naming.to)
                case "remove":
                    self._names.pop(naming.path, None)


def _records(log: Path) -> Iterator[tuple[bytes, int, int, int, bytes, bytes]]:
    """(kind, thread, inode, place, first, second); the last may be torn."""
    data = log.read_bytes() if log.exists() else b""
    begin = 0
    while begin + _HEAD.size <= len(data):
        kind, thread, first, second, inode, at = _HEAD.unpack_from(data, begin)
        begin += _HEAD.size
        if begin + first + second <= len(data):
            yield kind, thread, inode, at, data[begin : begin + first], data[begin + first : begin + first + second]
        begin += first + second


def _mark(namings: Sequence[_Naming], folder: Path) -> None:
    for naming in namings:
        naming.durable = naming.durable or folder in naming.folders


def _move(names: dict[Path, _File | None], path: Path, to: Path) -> None:
    for old in [each for each in names if path in (each, *each.parents)]:
        names[to / old.relative_to(path)] = names.pop(old)


def _stay(namings: Sequence[_Naming], kept: Kept) -> list[_Naming]:
    """Names get to the disk in order, those of each folder on their own."""
    ends: dict[Path, int] = {}
    for folder in {folder for naming in namings for folder in naming.folders}:
        own = [number for number, naming in enumerate(namings) if folder in naming.folders]
        moments = [*own, len(namings)]
        ends[folder] = kept.choice(moments) if isinstance(kept, random.Random) else moments[-1 if kept == "all" else 0]
    return [
        naming
        for number, naming in enumerate(namings)
        if naming.durable or all(number < ends[folder] for folder in naming.folders)
    ]


def _content(file: _File, kept: Kept) -> bytes:
    """What is synced, and of the changes since then all, none, those up to some moment, or any parts with holes."""
    content = bytearray(file.content)
    for change in file.changes if kept == "all" else _lucky(file.changes, kept):
        _apply(content, change)
    return bytes(content)


def _lucky(changes: Sequence[_Change], kept: Kept) -> Sequence[_Change]:
    if not changes or not isinstance(kept, random.Random):
        return ()
    match kept.choice(("all", "none", "begin", "parts")):
        case "all":
            return changes
        case "begin":
            at = kept.randrange(len(changes))
            return [*changes[:at], _part(changes[at], kept, begins=True)]
        case "parts":
            some = [change for change in changes if kept.random() < 0.7]
            return [each if kept.random() < 0.5 else _part(each, kept, begins=kept.random() < 0.5) for each in some]
    return ()


def _part(change: _Change, chance: random.Random, *, begins: bool) -> _Change:
    if change.data is None:
        return change
    cut = chance.randrange(len(change.data) + 1)
    if begins:
        return _Change(change.number, change.at, change.data[:cut])
    return _Change(change.number, change.at + cut, change.data[cut:])


def _apply(content: bytearray, change: _Change) -> None:
    if change.data is None:
        del content[change.at :]
    content.extend(bytes(max(0, change.at - len(content))))
    if change.data is not None:
        content[change.at : change.at + len(change.data)] = change.data

"""The end of the last segment after a stop of any kind: the last group counts whole or not at all.

What a kill leaves is torn: the beginning of a group, with nothing wrong in it. It was never acknowledged, and is cut
without a word. Anything else behind the last whole group is damage: it may have been acknowledged, so it is counted,
and a copy of it is kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from dpiped.journal.file_view import FileView
from dpiped.journal.record import COMMIT, MARKS, PACK, PREFIX_BYTES, Commit, Marks, decode_head, parse_prefix
from dpiped.journal.segment import Place, is_whole, place_at, places


class Group(NamedTuple):
    """A whole group: its bytes from begin to end, commit record included."""

    begin: int
    end: int


NO_GROUP = Group(0, 0)


@dataclass
class Tail:
    """What stands at the end of a file, before it is cut."""

    last: Group = NO_GROUP
    """The last whole group; (0, 0) if there is none."""
    torn: bool = True
    """What is behind it is what a kill leaves."""
    packs: int = 0
    """Packs behind it, in a damaged tail; at least one."""
    next: int = 0
    """The offset after the highest of them."""
    marks: Marks | None = None
    """The marks, when they stand in the damaged tail and are themselves sound."""
    size: int = 0


@dataclass
class _Groups:
    """Finds whole groups in the records of a file."""

    data: FileView
    found: list[Group] = field(default_factory=list)
    """The last two."""
    _records: list[tuple[int, bytes]] = field(default_factory=list)
    """(begin, checksum) of each record since the last whole group."""

    def add(self, place: Place) -> None:
        if place.kind != COMMIT:
            self._records.append((place.at, self.data.read(place.end - 4, 4)))
            return
        begin = self._begin_of(place)
        if begin is not None:
            self.found = [*self.found[-1:], Group(begin, place.end)]
            self._records.clear()

    def _begin_of(self, place: Place) -> int | None:
        """Where the group of this commit record begins: it names so many records before it, whatever is before them."""
        if not is_whole(self.data, place):
            return None
        head = self.data.read(place.at + PREFIX_BYTES, place.head_length)
        commit = msgspec.msgpack.decode(head, type=Commit)
        mine = self._records[-commit.records :] if commit.records else []
        if len(mine) != commit.records or not mine or place.at - mine[0][0] != commit.size:
            return None
        return mine[0][0] if crc32(b"".join(crc for _, crc in mine)) == commit.crc else None


class _Unreadable(FileView):
    """What the disk cannot read is zeros here, and so damaged."""

    def read(self, at: int, length: int) -> bytes:
        try:
            return super().read(at, length)
        except OSError:
            return bytes(max(0, min(length, self.size - at)))


def find_tail(path: Path, *, lenient: bool = False) -> Tail:
    """Raises NewerFormatError, and OSError when the disk cannot read what has to be judged; `lenient`: that is damage
    then, for it will not get better.
    """
    with (_Unreadable if lenient else FileView)(path) as data:
        return tail_of(data)


def tail_of(data: FileView) -> Tail:
    """The same of an open file."""
    groups = _Groups(data)
    for place in places(data, []):
        groups.add(place)
    found = groups.found
    damaged = bool(found) and not _is_intact(data, found[-1])
    if damaged:  # only the last of all can be torn, so the one before is whole
        found = found[:-1]
    tail = Tail(found[-1] if found else NO_GROUP, size=data.size)
    tail.torn = not damaged and _is_torn(data, tail.last.end)
    if not tail.torn:
        _look_into(data, tail)
    return tail


def _is_intact(data: FileView, group: Group) -> bool:
    """Whether every record of a group has a right checksum."""
    at = group.begin
    while at < group.end:
        place = place_at(data, at)
        if place is None or not is_whole(data, place):
            return False
        at = place.end
    return True


def _is_torn(data: FileView, at: int) -> bool:
    """Whether the file goes on with sound records, the last of them cut off, and without a commit record."""
    while (place := place_at(data, at)) is not None:
        if place.kind == COMMIT or not is_whole(data, place):
            return False
        at = place.end
    rest = data.read(at, PREFIX_BYTES)
    return len(rest) < PREFIX_BYTES or _is_cut_off(data, at, rest)


def _is_cut_off(data: FileView, at: int, prefix: bytes) -> bool:
    found = parse_prefix(prefix)
    return found is not None and Place(found[0], at, found[1], found[2]).end > data.size


def _look_into(data: FileView, tail: Tail) -> None:
    """Counts what is in a damaged tail, and learns what it tells for sure."""
    for place in places(data, [], tail.last.end):
        tail.packs += place.kind == PACK
        try:
            if place.kind not in (PACK, MARKS) or not is_whole(data, place):
                continue
            head = data.read(place.at + PREFIX_BYTES, place.head_length)
            if place.kind == PACK:
                tail.next = max(tail.next, decode_head(head).offset + 1)
            else:
                tail.marks = msgspec.msgpack.decode(head, type=Marks)
        except (OSError, msgspec.DecodeError):
            continue  # it is cut anyway
    tail.packs = max(1, tail.packs)  # each group has one


def mend(path: Path, tail: Tail) -> None:
    """Cuts the tail, and writes the last whole group once more, for a sync that failed before is not made up for.

    Raises OSError.
    """
    begin, end = tail.last
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, end)
        view = memoryview(os.pread(fd, end - begin, begin))
        while view:
            done = os.pwrite(fd, view, begin)
            view, begin = view[done:], begin + done
        os.fsync(fd)
    finally:
        os.close(fd)

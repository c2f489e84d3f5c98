"""One segment file: marks, groups of packs each ended by a commit record. The bytes of a record are drawn in record.py.

segment = M group.. ; the marks belong to the first group
group   = P.. C      ; C names the records before it
a rewritten segment holds one group: M P.. D C
"""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from dpiped.journal.record import (
    COMMIT,
    DROPPED,
    MAGIC,
    MARKS,
    OVERHEAD_BYTES,
    PACK,
    PREFIX_BYTES,
    Commit,
    Dropped,
    Frame,
    Marks,
    check_record,
    decode_head,
    encode_record,
    parse_prefix,
)
from dpiped.pack import Head, Route

SUFFIX = ".seg"
_IOV_MAX = 512


class Place(NamedTuple):
    """Where a record stands in the file."""

    kind: bytes
    at: int
    head_length: int
    body_length: int

    @property
    def end(self) -> int:
        return self.at + OVERHEAD_BYTES + self.head_length + self.body_length


class Share(msgspec.Struct, gc=False):
    """What packs of one route take in a segment."""

    size: int = 0
    first: int = -1
    last: int = -1
    events: int = 0


@dataclass(eq=False)
class Segment:
    """What is known of one file; positions are kept only while somebody reads it."""

    path: Path
    size: int = 0
    first: int = -1
    """First offset that is in the file or was dropped from it; -1 if there was none yet."""
    end: int = -1
    """The offset after the last one."""
    newest_ms: int = 0
    """When its newest pack was accepted."""
    marks: Marks | None = None
    shares: dict[Route, Share] = field(default_factory=dict)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    positions: array[int] = field(default_factory=lambda: array("q"))
    damage: list[str] = field(default_factory=list)

    def add(self, head: Head, at: int, length: int) -> None:
        """Notes a pack."""
        if self.first < 0 or head.offset < self.first:
            self.first = head.offset
        self.end = max(self.end, head.offset + 1)
        self.offsets.append(head.offset)
        self.positions.append(at)
        share = self.shares.setdefault(Route.of(head), Share(first=head.offset))
        share.size += length
        share.last = head.offset
        share.events += head.count
        self.newest_ms = max(self.newest_ms, head.accepted_ms)

    def add_dropped(self, ranges: list[tuple[int, int]]) -> None:
        self.dropped += ranges
        for low, high in ranges:
            self.first = low if self.first < 0 else min(self.first, low)
            self.end = max(self.end, high)

    def forget_positions(self) -> None:
        """Frees the memory of the index; who reads this far back scans the file again."""
        self.offsets, self.positions = array("q"), array("q")

    def missing(self) -> int:
        """Offsets between first and end that are neither there nor named as dropped."""
        if self.first < 0:
            return 0
        return self.end - self.first - len(self.offsets) - sum(high - low for low, high in self.dropped)

    def position(self, offset: int) -> int:
        """Index of the first pack at or after `offset`."""
        return bisect_left(self.offsets, offset)


Data = mmap.mmap | bytes
"""The bytes of a file."""


def places(data: Data, damage: list[str]) -> Iterator[Place]:
    """All records that have a good prefix and fit; what is damaged is passed over and said."""
    at, size = 0, len(data)
    while at < size:
        prefix = parse_prefix(data, at)
        if prefix is not None:
            place = Place(prefix[0], at, prefix[1], prefix[2])
            if place.end <= size:
                yield place
                at = place.end
                continue
        found = data.find(MAGIC, at + 1)
        damage.append(f"bytes {at} to {size if found < 0 else found}")
        if found < 0:
            return
        at = found


def scan(path: Path) -> Segment:
    """Reads all heads of a file, without checking bodies: those are checked when they are read."""
    with path.open("rb") as file:  # its size is asked of the open file: another may take its name meanwhile
        segment = Segment(path, size=os.fstat(file.fileno()).st_size)
        if segment.size == 0:
            return segment
        with mmap.mmap(file.fileno(), segment.size, access=mmap.ACCESS_READ) as data:
            for place in places(data, segment.damage):
                _note(segment, place, data)
    return segment


def _note(segment: Segment, place: Place, data: mmap.mmap) -> None:
    head = data[place.at + PREFIX_BYTES : place.at + PREFIX_BYTES + place.head_length]
    try:
        if place.kind == PACK:
            found = decode_head(head)
            expected = segment.end if segment.end >= 0 else int(segment.path.stem)
            if found.offset != expected and not is_whole(data, place):  # a flipped bit must not shift what follows
                segment.damage.append(f"record at byte {place.at}: wrong checksum")
                return
            segment.add(found, place.at, place.end - place.at)
        elif place.kind == MARKS:
            segment.marks = msgspec.msgpack.decode(head, type=Marks)
        elif place.kind == DROPPED:
            segment.add_dropped(msgspec.msgpack.decode(head, type=Dropped).ranges)
    except msgspec.DecodeError as exc:
        segment.damage.append(f"head at byte {place.at}: {exc}")


def is_whole(data: Data, place: Place) -> bool:
    """Whether the checksum of the record is right."""
    return check_record(data[place.at : place.end], place.head_length, place.body_length)


def whole_groups(path: Path) -> tuple[int, int]:
    """(end of the last whole group, its begin) of a file that was written to when the daemon ended; (0, 0) if none."""
    size = path.stat().st_size
    if size == 0:
        return 0, 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        return whole_groups_in(data)


def whole_groups_in(data: Data) -> tuple[int, int]:
    """The same of bytes that were read already."""
    good = begin = last = 0
    crcs: list[bytes] = []
    for place in places(data, []):
        if place.kind != COMMIT:
            crcs.append(data[place.end - 4 : place.end])
            continue
        if _commits(data, place, crcs, place.at - begin):
            good, last = place.end, begin
        begin, crcs = place.end, []
    if good and not _intact(data, last, good):
        return _last_intact(data, last)
    return good, last


def _commits(data: Data, place: Place, crcs: list[bytes], size: int) -> bool:
    if not check_record(data[place.at : place.end], place.head_length, 0):
        return False
    commit = msgspec.msgpack.decode(data[place.at + PREFIX_BYTES : place.end - 4], type=Commit)
    return (commit.records, commit.size, commit.crc) == (len(crcs), size, crc32(b"".join(crcs)))


def _intact(data: Data, begin: int, end: int) -> bool:
    """Whether every record from begin to end has a right checksum."""
    at = begin
    while at < end:
        prefix = parse_prefix(data, at)
        if prefix is None:
            return False
        place = Place(prefix[0], at, prefix[1], prefix[2])
        if not is_whole(data, place):
            return False
        at = place.end
    return True


def _last_intact(data: Data, end: int) -> tuple[int, int]:
    """The last group before `end`; only the last of all can be torn, so this one is whole."""
    begin = last = 0
    for place in places(data[:end], []):
        if place.kind == COMMIT:
            begin, last = last, place.end
    return last, begin


def read_frame(data: Data, at: int) -> Frame | None:
    """The pack at a position; None if it is damaged."""
    prefix = parse_prefix(data, at)
    if prefix is None or prefix[0] != PACK:
        return None
    place = Place(PACK, at, prefix[1], prefix[2])
    record = data[at : place.end]
    if len(record) < place.end - at or not check_record(record, place.head_length, place.body_length):
        return None
    body_at = PREFIX_BYTES + place.head_length
    return Frame(decode_head(record[PREFIX_BYTES:body_at]), record[body_at:-4])


def group_pieces(frames: Sequence[Frame], marks: Marks | None, dropped: Dropped | None = None) -> list[bytes]:
    """The pieces of one group, in order: marks, packs, dropped ranges, commit."""
    pieces: list[bytes] = []
    crcs: list[bytes] = []
    records = [encode_record(MARKS, marks)] if marks is not None else []
    records += [encode_record(PACK, frame.head, frame.body) for frame in frames]
    if dropped is not None:
        records.append(encode_record(DROPPED, dropped))
    for record in records:
        pieces += record
        crcs.append(record[2])
    size = sum(map(len, pieces))
    pieces += encode_record(COMMIT, Commit(len(records), size, crc32(b"".join(crcs))))
    return pieces


def write_all(fd: int, pieces: Sequence[bytes]) -> int:
    """Writes all pieces at the end of the file, whatever the kernel takes at a time; returns the bytes written."""
    left = [memoryview(piece) for piece in pieces if piece]
    total = 0
    while left:
        done = os.writev(fd, left[:_IOV_MAX])
        total += done
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]
    return total

"""One segment file: marks, groups of packs each ended by a commit record. The bytes of a record are drawn in record.py.

segment = M group.. ; the marks belong to the first group
group   = P.. C      ; C names the records before it
a rewritten segment holds one group: M P.. D C
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from dpiped.files import write_anew
from dpiped.journal.file_view import FileView
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
    NewerFormatError,
    check_record,
    decode_head,
    encode_record,
    newer_version,
    parse_prefix,
)
from dpiped.pack import HEAD_VERSION, Head, Route

SUFFIX = ".seg"


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


def places(data: FileView, damage: list[str], at: int = 0) -> Iterator[Place]:
    """All records from `at` on that have a good prefix and fit; what is damaged is passed over and said.

    Raises NewerFormatError.
    """
    while at < data.size:
        place = place_at(data, at)
        if place is not None:
            yield place
            at = place.end
            continue
        found = data.find(MAGIC, at + 1)
        damage.append(f"bytes {at} to {data.size if found < 0 else found}")
        if found < 0:
            return
        at = found


def place_at(data: FileView, at: int) -> Place | None:
    """The record that begins at `at`; None if there is no good prefix, or the file ends before the record does."""
    try:
        prefix = data.read(at, PREFIX_BYTES)
    except OSError:
        return None
    found = parse_prefix(prefix)
    if found is None:
        version = newer_version(prefix)
        if version is not None:
            raise NewerFormatError(
                f"{data.path} is written in version {version} of the format, this dpipe knows {MAGIC[2]}: start the "
                "newer one"
            )
        return None
    place = Place(found[0], at, found[1], found[2])
    return place if place.end <= data.size else None


def scan(path: Path) -> Segment:
    """Reads all heads of a file, without checking bodies: those are checked when they are read.

    Raises NewerFormatError, and OSError when it cannot be opened.
    """
    with FileView(path) as data:  # its size is asked of the open file: another may take its name meanwhile
        segment = Segment(path, size=data.size)
        for place in places(data, segment.damage):
            _note(segment, place, data)
    return segment


def _note(segment: Segment, place: Place, data: FileView) -> None:
    try:
        head = data.read(place.at + PREFIX_BYTES, place.head_length)
        if place.kind == PACK:
            _note_pack(segment, place, decode_head(head), data)
        elif place.kind in (MARKS, DROPPED) and not is_whole(data, place):
            segment.damage.append(f"record at byte {place.at}: wrong checksum")
        elif place.kind == MARKS:
            segment.marks = msgspec.msgpack.decode(head, type=Marks)
        elif place.kind == DROPPED:
            segment.add_dropped(msgspec.msgpack.decode(head, type=Dropped).ranges)
    except msgspec.DecodeError as exc:
        segment.damage.append(f"head at byte {place.at}: {exc}")
    except OSError as exc:
        segment.damage.append(f"head at byte {place.at}: {exc.strerror}")


def _note_pack(segment: Segment, place: Place, head: Head, data: FileView) -> None:
    """A flipped bit must not shift what follows, nor hide a pack behind a route that nobody wants."""
    usual = head.offset == segment.end and Route.of(head) in segment.shares and head.version == HEAD_VERSION
    if not usual:
        if not is_whole(data, place):
            segment.damage.append(f"record at byte {place.at}: wrong checksum")
            return
        if head.version > HEAD_VERSION:
            raise NewerFormatError(
                f"{data.path} has packs of version {head.version}, this dpipe knows {HEAD_VERSION}: start the newer one"
            )
        if head.offset < segment.end:
            segment.damage.append(f"record at byte {place.at}: pack {head.offset} stands there a second time")
            return
    segment.add(head, place.at, place.end - place.at)


def is_whole(data: FileView, place: Place) -> bool:
    """Whether the checksum of a record is right. Raises OSError."""
    record = data.read(place.at, place.end - place.at)
    return len(record) == place.end - place.at and check_record(record, place.head_length, place.body_length)


def read_frame(data: FileView, at: int) -> Frame | None:
    """The pack at a position; None if it is damaged. Raises OSError when the disk cannot read it."""
    prefix = parse_prefix(data.read(at, PREFIX_BYTES))
    if prefix is None or prefix[0] != PACK:
        return None
    place = Place(PACK, at, prefix[1], prefix[2])
    record = data.read(at, place.end - at)
    if len(record) < place.end - at or not check_record(record, place.head_length, place.body_length):
        return None
    body_at = PREFIX_BYTES + place.head_length
    return Frame(decode_head(record[PREFIX_BYTES:body_at]), record[body_at:-4])


def write_rest(path: Path, segment: Segment, frames: Sequence[Frame]) -> Segment:
    """Writes what is left of a segment to another file, which names what was dropped. Raises OSError."""
    gone = _gaps([frame.head.offset for frame in frames], segment.first, segment.end)
    write_anew(path, group_pieces(frames, segment.marks, Dropped(gone)))
    return scan(path)


def _gaps(offsets: Sequence[int], first: int, end: int) -> list[tuple[int, int]]:
    """Half-open ranges of [first, end) that are not among the sorted offsets."""
    gaps, at = [], first
    for offset in [*offsets, end]:
        if offset > at:
            gaps.append((at, offset))
        at = offset + 1
    return gaps


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

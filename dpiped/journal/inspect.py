"""What is in the journal of a data_dir, for the commands that look into it. Only reads; a daemon may be writing.

A file is read as a whole and closed, so nothing here depends on what becomes of it meanwhile. What stands behind the
last whole group of the last segment was never acknowledged: a daemon is just writing it, or a crash has left it and the
next start cuts it off. It is no damage, and nobody sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec

from dpiped.errors import DpipeError
from dpiped.journal.bound import Bound
from dpiped.journal.file_view import BytesView
from dpiped.journal.record import COMMIT, DROPPED, PACK, PREFIX_BYTES, Dropped, Frame, decode_head
from dpiped.journal.segment import SUFFIX, Place, is_whole, places, read_frame
from dpiped.journal.tail import tail_of
from dpiped.pack import Head, Route


class Share(msgspec.Struct):
    """What packs of one route amount to."""

    packs: int = 0
    events: int = 0
    size: int = 0
    """Stored bytes."""

    def add(self, packs: int, events: int, size: int) -> None:
        self.packs += packs
        self.events += events
        self.size += size


@dataclass(eq=False)
class Found:
    """One segment."""

    path: Path
    size: int = 0
    unfinished: int = 0
    """Bytes behind the last whole group."""
    oldest_ms: int = 0
    newest_ms: int = 0
    heads: list[tuple[Head, int]] = field(default_factory=list)
    """(head, stored bytes) of each pack."""
    dropped: list[tuple[int, int]] = field(default_factory=list)
    """Half-open ranges of offsets that were given back because nobody wanted them."""
    damage: list[str] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The first offset that it has or names; -1 when it has none."""
        return min([*(head.offset for head, _ in self.heads[:1]), *(low for low, _ in self.dropped)], default=-1)

    @property
    def end(self) -> int:
        """The offset after its last; -1 when it has none."""
        return max([*(head.offset + 1 for head, _ in self.heads[-1:]), *(high for _, high in self.dropped)], default=-1)

    @property
    def events(self) -> int:
        return sum(head.count for head, _ in self.heads)


def segment_paths(data_dir: Path) -> list[Path]:
    """The segments, oldest first. Raises DpipeError when the folder has no journal on disk."""
    folder = data_dir / "journal"
    if not folder.is_dir():
        raise DpipeError(f"{data_dir} has no folder `journal`: name the data_dir of a daemon with a journal on disk")
    return sorted(folder.glob("*" + SUFFIX))


def read_segment(path: Path, *, last: bool) -> tuple[bytes, int] | None:
    """(bytes, end of the last whole group); None when the daemon has just deleted it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return data, tail_of(BytesView(path, data)).last.end if last else len(data)


def look(path: Path, *, last: bool, check: bool = False) -> Found | None:
    """What is in a segment; with `check` the checksum of every record is compared, else only those of heads out of
    line. None when the daemon has just deleted it.
    """
    read = read_segment(path, last=last)
    if read is None:
        return None
    whole, good = read
    found = Found(path, size=len(whole), unfinished=len(whole) - good)
    if last and any(place.kind == COMMIT for place in places(BytesView(path, whole[good:]), [])):
        found.damage.append(f"bytes {good} to {len(whole)}: the last group is not whole; the next start cuts it off")
    data = BytesView(path, whole[:good])
    for place in places(data, found.damage):
        _note(found, data, place, check=check)
    return found


def _note(found: Found, data: BytesView, place: Place, *, check: bool) -> None:
    try:
        expected = found.end if found.end >= 0 else int(found.path.stem)
        packed = data.read(place.at + PREFIX_BYTES, place.head_length)
        head = decode_head(packed) if place.kind == PACK else None
        if (check or (head is not None and head.offset != expected)) and not is_whole(data, place):
            what = f"pack {head.offset}" if head is not None else "record"
            found.damage.append(f"{what} at byte {place.at}: wrong checksum")
        elif head is not None:
            found.heads.append((head, place.end - place.at))
            found.oldest_ms = min(found.oldest_ms or head.accepted_ms, head.accepted_ms)
            found.newest_ms = max(found.newest_ms, head.accepted_ms)
        elif place.kind == DROPPED:
            found.dropped += msgspec.msgpack.decode(packed, type=Dropped).ranges
    except (msgspec.DecodeError, ValueError) as exc:
        found.damage.append(f"record at byte {place.at}: {exc}")


def look_all(data_dir: Path, *, check: bool = False) -> Iterator[Found]:
    """All segments, oldest first. One that the daemon gives back meanwhile only names what it had, so that this is not
    taken for a loss.
    """
    paths = segment_paths(data_dir)
    for path, following in zip(paths, [*paths[1:], None], strict=True):
        found = look(path, last=following is None, check=check)
        if found is not None:
            yield found
        elif following is not None:
            yield Found(path, dropped=[(int(path.stem), int(following.stem))])


def missing(segments: list[Found]) -> list[tuple[int, int]]:
    """Half-open ranges of offsets that are neither there nor named as dropped: they were lost."""
    ranges = [
        *((head.offset, head.offset + 1) for found in segments for head, _ in found.heads),
        *(dropped for found in segments for dropped in found.dropped),
    ]
    gaps: list[tuple[int, int]] = []
    reached = -1
    for (_, end), (low, _) in pairwise(sorted(ranges)):
        reached = max(reached, end)
        if low > reached:
            gaps.append((reached, low))
    return gaps


def say_missing(low: int, high: int) -> str:
    """One of these ranges, in words."""
    return f"offset {low} is missing" if high == low + 1 else f"offsets {low} to {high - 1} are missing"


def by_route(segments: list[Found], start: int = 0, end: int | None = None) -> dict[Route, Share]:
    """What the packs with offsets of [start, end) amount to, by route."""
    shares: dict[Route, Share] = {}
    for found in segments:
        for head, size in found.heads:
            if head.offset >= start and (end is None or head.offset < end):
                shares.setdefault(Route.of(head), Share()).add(1, head.count, size)
    return shares


def frames(
    data_dir: Path,
    take: Callable[[Head], bool],
    on_damage: Callable[[str], None],
    start: Bound | None = None,
    end: Bound | None = None,
) -> Iterator[Frame]:
    """The packs whose head `take` accepts, in order; what is damaged or missing between the bounds is told."""
    walk = Walk(on_damage, start, end)
    paths = segment_paths(data_dir)
    for path, following in zip(paths, [*paths[1:], None], strict=True):
        read = read_segment(path, last=following is None)
        if read is not None:
            yield from walk.frames(BytesView(path, read[0][: read[1]]), take)
        elif following is not None:
            walk.freed.append((int(path.stem), int(following.stem)))


@dataclass
class Walk:
    """Goes through segments in order; what is damaged, or missing between them, is told and left out."""

    on_damage: Callable[[str], None]
    start: Bound | None = None
    end: Bound | None = None
    freed: list[tuple[int, int]] = field(default_factory=list)
    """Half-open ranges of offsets of segments that the daemon has just deleted, oldest first."""
    _reached: int = -1
    """The offset after the last that was there or is named as dropped."""
    _last: Head | None = None

    def frames(self, data: BytesView, take: Callable[[Head], bool]) -> Iterator[Frame]:
        """The packs of one segment; a head is only believed, and shown to `take`, if its record is whole."""
        damage: list[str] = []
        dropped: list[tuple[int, int]] = []
        first: Head | None = None
        for place in places(data, damage):
            if place.kind == DROPPED and is_whole(data, place):
                packed = data.read(place.at + PREFIX_BYTES, place.head_length)
                dropped += msgspec.msgpack.decode(packed, type=Dropped).ranges
            frame = read_frame(data, place.at) if place.kind == PACK else None
            if frame is not None:
                if first is None:
                    first, before = frame.head, self._last
                self._last = frame.head
                if take(frame.head):
                    yield frame
            elif place.kind == PACK:
                damage.append(f"pack at byte {place.at} is damaged")
            self._tell(data, damage)
        self._tell(data, damage)
        lows = [low for low, _ in dropped] + ([first.offset] if first is not None else [])
        for low, high in self.freed:
            if low <= self._reached < high:
                self._reached = high
        if lows and first is not None and self._is_loss(min(lows), before, first):
            self.on_damage(say_missing(self._reached, min(lows)))
        ends = [high for _, high in dropped] + ([self._last.offset + 1] if self._last is not None else [])
        self._reached = max([self._reached, *ends])

    def _tell(self, data: BytesView, damage: list[str]) -> None:
        while damage:
            self.on_damage(f"{data.path.name}: {damage.pop(0)}")

    def _is_loss(self, low: int, before: Head | None, first: Head) -> bool:
        """Whether the offsets before this one are missing, and may belong to what is asked for."""
        start, end = self.start, self.end
        if not 0 <= self._reached < low or before is None:
            return False
        if start is not None and (low <= start.offset if start.offset is not None else not start.reached_by(first)):
            return False
        return end is None or (self._reached < end.offset if end.offset is not None else not end.reached_by(before))

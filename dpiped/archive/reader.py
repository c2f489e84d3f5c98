"""Reader: the lines of one file of an archive, from any place on. Blocking; used by one thread at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import NamedTuple

import msgspec

from dpiped.archive.members import TAR_LOOK, is_tar, members_of
from dpiped.archive.place import Place
from dpiped.archive.unpack import Bounded, DamagedFileError, Peeked, unpacked
from dpiped.sources.tail_shape import Shaper

LINES_BYTES = 900_000
"""So much is read at once, at most about: what becomes one pack."""
MOST_TORN = 100
"""So many members of a tar file are left out for being damaged; behind more of them nothing is read."""


class Spot(msgspec.Struct, array_like=True, frozen=True):
    """Where the reading of a file goes on. Fields are only ever added, at the end."""

    size: int
    """Of the file when it was begun: what it grows later is not read."""
    offset: int = 0
    """In what was unpacked; of the member, if it is a tar file."""
    member: int = 0
    """Of a tar file, from 0."""
    torn: dict[int, int] = {}
    """Members before it that could not be read to their end -> offset up to which they were."""

    def start_of(self, member: int) -> int | None:
        """Where the reading of a member goes on; None: it was read."""
        if member < self.member:
            return self.torn.get(member)
        return self.offset if member == self.member else 0

    def reached(self, member: int, offset: int) -> Spot:
        """After so much of a member."""
        if member < self.member:
            return msgspec.structs.replace(self, torn=self.torn | {member: offset})
        return msgspec.structs.replace(self, member=member, offset=offset)

    def behind(self, member: int) -> Spot:
        """After a member that was read to its end."""
        torn = {number: at for number, at in self.torn.items() if number != member}
        return self._moved(member, torn)

    def past(self, member: int, offset: int) -> Spot:
        """After one of which only so much could be read."""
        return self._moved(member, self.torn | {member: offset})

    def _moved(self, member: int, torn: dict[int, int]) -> Spot:
        is_next = member >= self.member
        return Spot(self.size, 0 if is_next else self.offset, member + 1 if is_next else self.member, torn)


class Lines(NamedTuple):
    """Some whole lines."""

    data: bytes
    source: str
    """Path, of a member of a tar file with `!` and its name behind it."""
    spot: Spot
    """After them."""


class Reader:
    """One file."""

    def __init__(self, place: Place, path: str, spot: Spot, max_line_bytes: int) -> None:
        self.path = path
        self.size = spot.size
        """So much of it is read."""
        self._place = place
        self._spot = spot
        self._shaper = Shaper(max_line_bytes)
        self._raw: Bounded | None = None

    @property
    def cut(self) -> int:
        """Lines that lost their rest because they were too long."""
        return self._shaper.counts["line_cut"]

    @property
    def taken(self) -> int:
        """Bytes of the file itself that were read."""
        return self._raw.taken if self._raw is not None else 0

    def lines(self) -> Generator[Lines, None, None]:
        """All that follows the spot. Raises OSError and DamagedFileError, and what the place does when it does not
        answer; what was given before is right.
        """
        with closing(self._place.open(self.path, self._spot.size)) as file:
            self._raw = Bounded(file, self._spot.size)
            stream = unpacked(self._raw)
            if is_tar(stream.peek(TAR_LOOK)):
                yield from self._members(stream)
            else:
                yield from self._lines_of(stream.read, self.path, 0, self._spot.offset)

    def _members(self, stream: Peeked) -> Generator[Lines, None, None]:
        """Of a member that is damaged, in a tar file that is not, the rest is left out and those behind it are read;
        what is left out is told at the end.
        """
        left_out: list[str] = []
        for number, member in enumerate(members_of(stream)):
            start = self._spot.start_of(number)
            if start is None:
                continue
            inner = unpacked(Bounded(member, member.size))
            try:
                yield from self._lines_of(inner.read, f"{self.path}!{member.name}", number, start)
            except DamagedFileError as exc:
                if member.failed or len(self._spot.torn) >= MOST_TORN:
                    raise
                self._spot = self._spot.past(number, self._spot.start_of(number) or 0)
                left_out.append(f"{member.name}: {exc}")
            else:
                self._spot = self._spot.behind(number)
        if self._spot.torn:
            others = f", and of {len(self._spot.torn) - 1} more members" if len(self._spot.torn) > 1 else ""
            raise DamagedFileError(f"of member {left_out[0] if left_out else 'that is gone'}{others}")

    def _lines_of(
        self, read: Callable[[int], bytes], source: str, member: int, offset: int
    ) -> Generator[Lines, None, None]:
        """Moves the spot."""
        left = offset
        while left:
            skipped = read(min(left, LINES_BYTES))
            if not skipped:
                raise DamagedFileError(f"it is shorter than what was read of it before ({offset} bytes)")
            left -= len(skipped)
        rest: list[bytes] = []
        rest_bytes = dropped = 0
        most = self._shaper.max_line_bytes + 1  # one more tells that the line is too long
        filler = _Filler(read)
        ended = False
        while not ended:
            block = filler.read(LINES_BYTES)
            ended = not block
            end = block.rfind(b"\n") + 1
            if end or ended:
                newline = max(0, block.find(b"\n")) if dropped else 0
                data = b"".join([*rest, block[newline:end]])
                offset += len(data) + dropped + newline
                rest, rest_bytes, dropped = [], 0, 0
                if data:
                    self._spot = self._spot.reached(member, offset)
                    yield Lines(self._shaper.shape(data).data, source, self._spot)
            kept = block[end : end + most - rest_bytes]
            rest.append(kept)
            rest_bytes += len(kept)
            dropped += len(block) - end - len(kept)


class _Filler:
    """Gathers small reads. What was read before the stream turned out to be damaged is given first."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._damage: DamagedFileError | None = None

    def read(self, size: int) -> bytes:
        """About `size` bytes; fewer only at the end."""
        if self._damage is not None:
            raise self._damage
        parts: list[bytes] = []
        found = 0
        while found < size // 2:
            try:
                data = self._read(size - found)
            except DamagedFileError as exc:
                if not parts:
                    raise
                self._damage = exc
                break
            if not data:
                break
            parts.append(data)
            found += len(data)
        return b"".join(parts)

"""Reader: the lines of one file of an archive, from any place on. Blocking; used by one thread at a time."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Generator
from contextlib import closing
from typing import IO, NamedTuple

import msgspec

from dpiped.archive.place import Place
from dpiped.archive.unpack import Bounded, DamagedFileError, Peeked, unpacked

LINES_BYTES = 900_000
"""So much is read at once, at most about: what becomes one pack."""
_TAR_LOOK = 262


class Spot(msgspec.Struct, array_like=True, frozen=True):
    """Where the reading of a file goes on. Fields are only ever added, at the end."""

    size: int
    """Of the file when it was begun: what it grows later is not read."""
    offset: int = 0
    """In what was unpacked; of the member, if it is a tar file."""
    member: int = 0
    """Of a tar file, from 0."""


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
        self.cut = 0
        """Lines that lost their rest because they were too long."""
        self._place = place
        self._spot = spot
        self._most = max_line_bytes
        self._raw: Bounded | None = None

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
            if stream.peek(_TAR_LOOK)[257:262] == b"ustar":
                yield from self._members(stream)
            else:
                yield from self._lines_of(stream.read, self.path, 0)

    def _members(self, stream: Peeked) -> Generator[Lines, None, None]:
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=tarfile.BLOCKSIZE * 64) as tar:
                files = (member for member in tar if member.isfile())
                for number, member in enumerate(files):
                    content: IO[bytes] | None = tar.extractfile(member)
                    if number < self._spot.member or content is None:
                        continue
                    inner = unpacked(Bounded(content, member.size))
                    yield from self._lines_of(inner.read, f"{self.path}!{member.name}", number)
                    self._spot = Spot(self._spot.size, 0, number + 1)
        except tarfile.TarError as exc:
            raise DamagedFileError(f"it is damaged: {exc}") from exc

    def _lines_of(self, read: Callable[[int], bytes], source: str, member: int) -> Generator[Lines, None, None]:
        offset = self._spot.offset if member == self._spot.member else 0
        left = offset
        while left:
            skipped = read(min(left, LINES_BYTES))
            if not skipped:
                raise DamagedFileError(f"it is shorter than what was read of it before ({offset} bytes)")
            left -= len(skipped)
        rest: list[bytes] = []
        rest_bytes = dropped = 0
        filler = _Filler(read)
        ended = False
        while not ended:
            block = filler.read(LINES_BYTES)
            ended = not block
            end = block.rfind(b"\n") + 1
            if not end and not ended:
                kept = block[: max(0, self._most - rest_bytes)]
                rest.append(kept)
                rest_bytes += len(kept)
                dropped += len(block) - len(kept)
                continue
            if dropped:  # a line that is too long ends here
                self.cut += 1
                first = block.find(b"\n") + 1
                dropped += max(0, first - 1)
                block, end = block[max(0, first - 1) :], end - max(0, first - 1)
            data = b"".join([*rest, block[:end]])
            rest, rest_bytes = ([block[end:]], len(block) - end) if end < len(block) else ([], 0)
            offset += len(data) + dropped
            dropped = 0
            if data:
                whole = data if data.endswith(b"\n") else data + b"\n"
                yield Lines(whole, source, Spot(self._spot.size, offset, member))


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

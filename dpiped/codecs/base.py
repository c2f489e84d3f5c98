"""What a codec is: outside bytes to canonical bodies, and back.

`decode` never raises anything but CodecError (the data as a whole is unreadable); lines it cannot take are `rejected`,
one by one. It blocks for as long as it computes, so callers hand it pieces of about 1 MiB.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from dpiped.codecs.times import TimeSpec
from dpiped.projection import HOST, METADATA_FIELDS, Projection

BOM = b"\xef\xbb\xbf"
"""A byte order mark: in front of the data it is no part of the first line, whatever the codec."""


class Rejected(NamedTuple):
    """A line (or array element) that is no event."""

    line: int
    """Its number in the data, from 1."""
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Canonical events that belong to one ident."""

    suffix: str
    """What to add to the ident as its last part; mostly empty."""
    body: bytes
    """One object a line, each with `@timestamp` in integer milliseconds."""
    count: int
    min_ts: int
    max_ts: int
    events: list[Any] | None
    """The decoded projection, shape (count,), if decoding was part of the work; it must tell the same as `body`."""
    lacks: frozenset[str] = frozenset()
    """Of `_host` and `_source`, those that no event has, where the codec knows it without looking; not used where there
    are `events`, which tell it.
    """


@dataclass(slots=True)
class Decoded:
    """What became of some data. `parts` is empty when nothing was acceptable."""

    parts: list[Part] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """What else is worth counting: "invalid_utf8", "time_corrected", "time_missing", .. -> number of events."""
    form: str | None = None
    """BODY or ALS: `decode_body` makes the one part's body of the very data that came in, so the compressed bytes that
    it came as may be kept. None: they may not.
    """

    @property
    def accepted(self) -> int:
        return sum(part.count for part in self.parts)


def lacking(hosts: Sequence[str] | None, names: Iterable[str] = ()) -> frozenset[str]:
    """`Part.lacks` of events that only have these fields, and `_host` if there are `hosts`."""
    return METADATA_FIELDS.difference(names, () if hosts is None else (HOST,))


def behind_others(piece: bytes) -> bytes:
    """A piece that is not the first of its data, for `decode`: there a byte order mark is part of the line."""
    return BOM + piece if piece.startswith(BOM) else piece


@dataclass(frozen=True, slots=True)
class DecodeContext:
    """What a codec has to know besides the data."""

    accepted_ms: int
    """Now; the time of events that have none."""
    projection: Projection
    """What the consumers of this ident read."""
    time: TimeSpec | None = None
    """Where the time of an event stands, if the input's config says so; it goes before `@timestamp`."""
    keep_old: bool = False
    """Times more than 60 days from now stay as they are (als)."""
    hosts: list[str] | None = None
    """Shape (n_lines,): the peer of each line, where the data mixes peers; it becomes `_host` of the event."""


class Codec(ABC):
    """Stateless and thread-safe once built; one object serves all data of an input."""

    name = ""
    """What a config and a sender call it."""
    weighty: ClassVar[tuple[bytes, ...]] = (b"\n",)
    """What costs time when it is decoded: lines, objects."""
    light_weight: ClassVar[int] = 4_000
    """Data with more of these takes too long for the event loop."""
    reads_pieces = True
    """Whether it reads data that was cut behind any line, as collectors and inputs that follow files cut it."""
    quote: bytes = b""
    """What stands around values that may go on in the next line; empty: none does."""

    @abstractmethod
    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        """Reads whole lines or documents. An unfinished last line counts as a line."""

    def decode_quickly(self, data: bytes, context: DecodeContext) -> Decoded | None:
        """The same for light data; None if it has to be looked at line by line, which may take long."""
        return self.decode(data, context)

    @abstractmethod
    def encode(self, body: bytes) -> bytes:
        """A canonical body in this codec's own form, for outputs that offer a choice."""

    @abstractmethod
    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        """Splits data into pieces of about `most_bytes` that can be decoded one by one; line codecs cut after a
        newline.

        One piece when the data cannot be split. Line numbers of `rejected` count from the start of the piece; the
        caller adds the lines before it.
        """

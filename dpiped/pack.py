"""Head, Pack and PackPool: what flows through dpipe.

A pack is a block of events with one head. Its body is canonical: one JSON object a line, each line ending in a newline,
UTF-8, every event with `@timestamp` in integer milliseconds. Bodies are immutable and never reused; Pack objects are
pooled, counted and given back when nobody holds them any more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dpiped import gzip, zstd
from dpiped.errors import DpipeError
from dpiped.long_texts import LONGEST, has_long_lines

if TYPE_CHECKING:
    from dpiped.projection import Projection

MAX_PACK_BYTES = 1 << 20
"""A body is cut into packs of at most so many bytes, if its lines allow it."""
MAX_PACK_EVENTS = 5_000
"""And of at most so many events."""
BODY, ALS = "", "als+"
"""What compressed bytes are, in front of their encoding: the body, or lines of als that it is made of."""
ENCODINGS = ("", "zstd", "gzip")
"""Of bodies; what every daemon can read."""
VIEW_BYTES, HEAD_BYTES = 100, 500
"""What the decoded fields of an event and the head of a pack take in memory, about."""
COMPRESS_FROM_BYTES = 512
"""Smaller bodies are stored as they are: compressing them saves nothing."""
MAX_HOPS = 8
"""A pack that filters made from filters' packs more often than this goes to the dead letter."""

TICK_IDENT = "_dpipe.tick"
"""Ident of the empty packs that carry the journaled time."""
CONTROL_IDENT = "_dpipe.control"
"""Ident of packs addressed to one runner."""
EVENTS_IDENT = "_dpipe.events"
"""Ident of what the daemon reports about itself."""
NO_PROJECT = ""
"""Of what is about several projects: reports of the daemon, and answers over events of more than one."""


HEAD_VERSION = 1
"""A pack with a higher one was written by a newer dpipe, and is not read."""


class Head(msgspec.Struct, array_like=True, gc=False, frozen=True, omit_defaults=False):
    """The head of a pack, version 1; stored and sent as one msgpack array. Fields are only ever added, at the end."""

    version: int = HEAD_VERSION
    epoch: str = ""
    """Random id drawn at each start of the daemon; it begins with the time, so epochs sort. Empty on the wire."""
    offset: int = -1
    """Place in the journal; -1 before it is appended."""
    project: str = ""
    ident: str = ""
    source: str = ""
    """File path, peer address or topic it came from; empty when the events carry `_source`."""
    host: str = ""
    """Machine it came from; empty when unknown or when the events carry `_host`."""
    accepted_ms: int = 0
    """When the daemon took it; of an emission: that of the pack that caused it."""
    min_ts: int = 0
    max_ts: int = 0
    """Smallest and largest `@timestamp` in the body, milliseconds."""
    count: int = 0
    """Number of events."""
    raw_bytes: int = 0
    """Size of the body when it is not compressed."""
    encoding: str = ""
    """How the body is stored: one of ENCODINGS; in the journal also "als+zstd", the lines of als that it is made of."""
    stream: str = ""
    seq: int = -1
    nonce: str = ""
    """Batch id of the sender, if it gave one."""
    position: tuple[str, str] | None = None
    """(input, place after this pack in the input's own terms), for inputs that can be replayed."""
    cause: tuple[str, int] | None = None
    """(filter, offset): which filter emitted this pack, and from which pack."""
    hops: int = 0
    only: str = ""
    """The one runner that gets this pack; empty for all that match."""
    codec: str = ""
    """On the wire: how the body has to be read; empty = it is canonical. Always empty in the journal."""


class Route(NamedTuple):
    """What decides who wants a pack; resolved once for each, not for each pack."""

    project: str
    ident: str
    emitted: bool
    """A filter made it."""
    only: str

    @staticmethod
    def of(head: Head) -> Route:
        return Route(head.project, head.ident, head.cause is not None, head.only)


def count_lines(data: bytes) -> int:
    """How many newlines there are. Source: measured with lines of 320 bytes, 21 ns for each; `bytes.count` takes 96."""
    return len(data) - len(data.replace(b"\n", b""))


def encode_body(body: bytes, encoding: str = "zstd") -> tuple[str, bytes]:
    """(encoding, stored bytes) of a canonical body; small ones stay as they are."""
    if len(body) < COMPRESS_FROM_BYTES or not encoding:
        return "", body
    return "zstd", zstd.compress(body)


def decode_body(stored: bytes, encoding: str) -> bytes:
    """The canonical body of stored bytes. Only for bytes whose size was checked when they were accepted."""
    if not encoding:
        return stored
    if encoding == "zstd":
        return zstd.decompress(stored)
    if encoding == "gzip":
        return gzip.unpack(stored)
    if encoding == ALS + "zstd":
        from dpiped.codecs.als_body import body_of  # collectors read no such bytes, and do without it

        return body_of(zstd.decompress(stored))
    raise DpipeError(f"pack with an unknown encoding {encoding!r}: written by a newer version of dpiped?")


class Pack:
    """One pack in memory, shared by all runners that read it.

    `holders` says who holds it and since when (monotonic seconds); the pool takes it back when the last one lets go.
    """

    __slots__ = ("_body", "_has_long_texts", "_views", "head", "holders", "lacks", "route", "size", "stored")

    def __init__(self) -> None:
        self.holders: dict[str, float] = {}
        self._views: dict[Projection, list[Any]] = {}
        self.fill(Head(), b"", None)

    def fill(self, head: Head, stored: bytes, body: bytes | None) -> None:
        """Makes the object a pack; `body` if it is known already, else it is decoded when somebody asks."""
        self.head = head
        self.route = Route.of(head)
        self.stored = stored
        self._body = body
        self.lacks: frozenset[str] = frozenset()
        """Of `_host` and `_source`, those that the intake knows no event to have."""
        self._has_long_texts: bool | None = None
        self.size = len(stored) + head.raw_bytes + head.count * VIEW_BYTES + HEAD_BYTES

    def shrink(self) -> int:
        """Keeps only what is stored; body and events are made anew if somebody asks. Returns the bytes saved."""
        saved = self.size - len(self.stored) - HEAD_BYTES
        self._body = None
        self._views.clear()
        self.size -= saved
        return saved

    def clear(self) -> None:
        """Forgets everything, so that an idle object keeps no bytes alive."""
        self._views.clear()
        self.holders.clear()
        self.fill(Head(), b"", None)

    @property
    def body(self) -> bytes:
        """The canonical body, `count` lines."""
        if self._body is None:
            self._body = decode_body(self.stored, self.head.encoding)
        return self._body

    @property
    def has_long_texts(self) -> bool:
        """Whether a value in it may be a text that is not held whole; see long_texts.py."""
        if self._has_long_texts is None:
            head = self.head
            self._has_long_texts = max(len(head.source), len(head.host)) > LONGEST or has_long_lines(self.body)
        return self._has_long_texts

    def events(self, projection: Projection) -> list[Any]:
        """The events as structs of the projection, decoded once per pack and projection. Never change them."""
        events = self._views.get(projection)
        if events is None:
            events = self._views[projection] = projection.decode(self.body)
        return events

    def remember(self, projection: Projection, events: list[Any]) -> None:
        """Keeps what the intake decoded, so that nobody decodes it again."""
        self._views[projection] = events


class PackPool:
    """Recycled Pack objects, with a budget in bytes that the cache keeps to.

    Not thread-safe: used on the event loop only. `in_use` and `bytes` are zero when everything is idle.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.bytes = 0
        self._idle: list[Pack] = []
        self._used: dict[int, Pack] = {}

    @property
    def in_use(self) -> int:
        return len(self._used)

    @property
    def over_budget(self) -> bool:
        return self.bytes > self.budget_bytes

    def take(self, head: Head, stored: bytes, body: bytes | None, holder: str) -> Pack:
        """A pack held by `holder`."""
        pack = self._idle.pop() if self._idle else Pack()
        pack.fill(head, stored, body)
        pack.holders[holder] = time.monotonic()
        self._used[id(pack)] = pack
        self.bytes += pack.size
        return pack

    def hold(self, pack: Pack, holder: str) -> None:
        pack.holders[holder] = time.monotonic()

    def release(self, pack: Pack, holder: str) -> None:
        """`holder` lets go; the last one gives the object back. Letting go twice is harmless."""
        if pack.holders.pop(holder, None) is None or pack.holders:
            return
        self.bytes -= pack.size
        del self._used[id(pack)]
        pack.clear()
        if len(self._idle) < 1_000:
            self._idle.append(pack)

    def shrink(self, pack: Pack) -> None:
        """Makes a pack smaller that only the cache holds; it has been read by all who keep up."""
        if len(pack.holders) == 1 and CACHE_HOLDER in pack.holders:
            self.bytes -= pack.shrink()

    def held_since(self, secs: float) -> list[tuple[Pack, str, float]]:
        """(pack, holder, seconds) of what a runner has held for longer than `secs`; the cache is no runner."""
        now = time.monotonic()
        return [
            (pack, holder, now - since)
            for pack in self._used.values()
            for holder, since in pack.holders.items()
            if holder != CACHE_HOLDER and now - since > secs
        ]


CACHE_HOLDER = "~cache"
"""Name under which the cache of recent packs holds them; no plugin can have it."""

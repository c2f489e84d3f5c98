"""Decoder: an input's bytes to drafts of packs, by a codec, without holding the event loop for long.

Small and canonical data, which is nearly all, is decoded at once. What may take long (lines that have to be looked at
one by one, hundreds of thousands of tiny events) goes to a thread, where the interpreter takes turns.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

from dpiped.batch import BatchId
from dpiped.codecs.base import Codec, DecodeContext, Decoded, Part, Rejected, behind_others
from dpiped.codecs.times import TimeSpec
from dpiped.compression import is_one_frame
from dpiped.journal.append import Draft
from dpiped.oversize import take_out_large
from dpiped.pack import MAX_PACK_BYTES, MAX_PACK_EVENTS, Head, Route, count_lines
from dpiped.router import Router

AT_ONCE_BYTES = 4 << 10
"""Data of this size is decoded on the event loop in any case."""
_SAMPLES, _SAMPLE_BYTES = 8, 512


class Origin(NamedTuple):
    """Where data came from and where it goes."""

    project: str
    ident: str
    source: str
    host: str
    batch: BatchId | None = None
    hops: int = 0
    codec: str = ""
    """Its name, if the sender gave it; empty: the input's own."""
    frame: int = 0
    """Which frame of its batch."""


class Result(NamedTuple):
    """What became of some data."""

    drafts: list[Draft]
    rejected: list[Rejected]


class Decoder:
    """One for each intake. Safe for any number of concurrent calls."""

    def __init__(
        self,
        router: Router,
        time_spec: TimeSpec | None,
        *,
        keep_old: bool,
        max_event_bytes: int,
        count: Callable[[str, int], None],
    ) -> None:
        self._router = router
        self._time_spec = time_spec
        self._keep_old = keep_old
        self._max_event_bytes = max_event_bytes
        self._count = count
        """Gets what else codecs count, such as ("invalid_utf8", 3); called from any thread."""

    async def decode(
        self,
        data: bytes,
        codec: Codec,
        origin: Origin,
        hosts: list[str] | None = None,
        stored: tuple[str, bytes] | None = None,
    ) -> AsyncIterator[Result]:
        """Piece by piece; mostly there is one. Raises CodecError when the data as a whole is unreadable.

        Args:
            hosts: the peer of each line, where the data mixes peers; such data is one piece.
            stored: (encoding, bytes) the data came as; kept if the body can be had from it.
        """
        projection = self._router.projection_of(Route(origin.project, origin.ident, False, ""))
        context = DecodeContext(int(time.time() * 1000), projection, self._time_spec, self._keep_old, hosts)
        weight = weight_of(data, codec)
        size = _piece_bytes(len(data), weight, codec) if hosts is None else len(data)
        if len(data) <= size:
            yield await self._decode_piece(data, weight, codec, origin, context, stored)
            return
        lines, counted = 0, 0
        pieces = await asyncio.to_thread(codec.cut, data, size)
        for number, piece in enumerate(pieces):
            piece = behind_others(piece) if number else piece
            result = await self._decode_piece(piece, weight_of(piece, codec), codec, origin, context, None)
            if result.rejected:
                lines += sum(map(count_lines, pieces[counted:number]))
                counted = number
            yield Result(result.drafts, [bad._replace(line=bad.line + lines) for bad in result.rejected])
            await asyncio.sleep(0)

    async def _decode_piece(
        self,
        data: bytes,
        weight: int,
        codec: Codec,
        origin: Origin,
        context: DecodeContext,
        stored: tuple[str, bytes] | None,
    ) -> Result:
        def result(decoded: Decoded) -> Result:
            take_out_large(decoded, self._max_event_bytes, context)
            for what, amount in decoded.counts.items():
                self._count(what, amount)
            keep = None
            if stored is not None and decoded.form is not None and is_one_frame(*stored, len(data)):
                keep = (decoded.form + stored[0], stored[1])
            drafts = [draft for part in decoded.parts for draft in _drafts(part, origin, context, keep)]
            return Result(drafts, decoded.rejected)

        small = len(data) <= AT_ONCE_BYTES
        decoded = codec.decode_quickly(data, context) if weight <= codec.light_weight else None
        if decoded is None and small:
            decoded = codec.decode(data, context)
        if decoded is not None:
            return result(decoded)
        return await asyncio.to_thread(lambda: result(codec.decode(data, context)))


def _piece_bytes(size: int, weight: int, codec: Codec) -> int:
    """How large a piece may be: one pack, or less if the data is full of tiny events."""
    return max(AT_ONCE_BYTES, min(MAX_PACK_BYTES, size * codec.light_weight // max(weight, 1)))


def weight_of(data: bytes, codec: Codec) -> int:
    """About how many lines and objects there are, told from a few samples: what decoding costs; 0 if that is little in
    any case.
    """
    size = len(data)
    if size <= AT_ONCE_BYTES:
        return 0
    samples = b"".join([data[at : at + _SAMPLE_BYTES] for at in range(0, size, size // _SAMPLES)])
    return sum(map(samples.count, codec.weighty)) * size // len(samples)


def _drafts(part: Part, origin: Origin, context: DecodeContext, stored: tuple[str, bytes] | None) -> Iterable[Draft]:
    ident = f"{origin.ident}.{part.suffix}" if part.suffix else origin.ident
    if b"\r" in part.body:  # a blank of JSON, but the end of a line to many readers
        part, stored = dataclasses.replace(part, body=part.body.replace(b"\r", b" ")), None
    stream, seq, nonce = origin.batch or ("", -1, "")
    for piece in _split(part, context) if part.count > MAX_PACK_EVENTS else (part,):
        whole = stored if piece is part else None
        head = Head(
            project=origin.project,
            ident=ident,
            source=origin.source,
            host=origin.host,
            accepted_ms=context.accepted_ms,
            min_ts=piece.min_ts,
            max_ts=piece.max_ts,
            count=piece.count,
            raw_bytes=len(piece.body),
            encoding=whole[0] if whole else "",
            stream=stream,
            seq=seq,
            nonce=nonce,
            hops=origin.hops,
        )
        projection, lacks = None, piece.lacks
        if piece.events is not None:  # asked while they are in the cache, for a quarter of what it costs later
            projection, lacks = context.projection, context.projection.absent(piece.events)
        yield Draft(head, piece.body, whole[1] if whole else None, projection, piece.events, lacks)


def _split(part: Part, context: DecodeContext) -> Iterable[Part]:
    """Parts of at most MAX_PACK_EVENTS events."""
    lines = part.body.splitlines(keepends=True)
    events = part.events if part.events is not None else context.projection.decode(part.body)
    times = context.projection.column(events, "@timestamp")
    for at in range(0, part.count, MAX_PACK_EVENTS):
        some = [stamp for stamp in times[at : at + MAX_PACK_EVENTS] if isinstance(stamp, int)]
        chunk = lines[at : at + MAX_PACK_EVENTS]
        mine = events[at : at + MAX_PACK_EVENTS]
        yield Part(part.suffix, b"".join(chunk), len(chunk), min(some), max(some), mine)

"""Intake: how an input's bytes become packs in the journal.

data -> codec -> canonical parts -> drafts of packs, in one lot -> journal. Rejected lines are in the dead letter,
synced, before the sender hears of them. One Intake for each input; it is what the input calls `emit`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from logging import ERROR
from typing import NamedTuple

import msgspec

from dpiped.batch import BatchId
from dpiped.codecs.base import Codec, DecodeContext, Decoded, Part, Rejected
from dpiped.codecs.times import TimeSpec
from dpiped.compression import decompress, is_one_frame
from dpiped.config.base import is_ident, is_name
from dpiped.deadletter import DeadLetters, Letter
from dpiped.errors import CodecError, UnavailableError
from dpiped.journal.append import Draft, Lot
from dpiped.journal.journal import Journal
from dpiped.journal.record import Frame
from dpiped.leveldb import LevelDbError
from dpiped.pack import MAX_HOPS, MAX_PACK_BYTES, MAX_PACK_EVENTS, Head, Route
from dpiped.plugin import Receipt
from dpiped.project_log import ProjectLogs
from dpiped.router import Router
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import EventsRejected

SHOWN_ERRORS = 10
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that no text from outside may bring into a head; lone surrogates cannot even be stored."""
POSITION_IDENT = "_dpipe.position"
"""Ident of empty packs that only carry an input's position, when all that was read was rejected."""
DISK_RETRY_SECS = 2.0
LETTERS_AT_ONCE = 5_000
"""So many dead letters are written before others on the event loop have their turn."""


class Origin(NamedTuple):
    """Where data came from and where it goes."""

    project: str
    ident: str
    source: str
    host: str
    batch: BatchId | None = None
    hops: int = 0


class Intake:
    """Counts, decodes, appends. Safe for any number of concurrent calls."""

    def __init__(
        self,
        name: str,
        *,
        journal: Journal,
        router: Router,
        deadletters: DeadLetters,
        telemetry: Telemetry,
        project: str,
        ident: str,
        codec: Codec,
        codec_of: Callable[[str], Codec],
        time_spec: TimeSpec | None,
        keep_old: bool,
        project_logs: ProjectLogs,
        max_frame_bytes: int = 64 << 20,
    ) -> None:
        self._name = name
        self._journal = journal
        self._router = router
        self._deadletters = deadletters
        self._telemetry = telemetry
        self._project = project
        self._ident = ident
        self._codec = codec
        self._codec_of = codec_of
        self._time_spec = time_spec
        self._keep_old = keep_old
        self._project_logs = project_logs
        self._max_frame_bytes = max_frame_bytes
        metrics = telemetry.metrics
        self._events_in = metrics.events_in.labels(name)
        self._bytes_in = metrics.bytes_in.labels(name)
        self._packs_in = metrics.packs_in.labels(name)
        self.events = 0
        """Accepted since the start, repeats apart."""
        self.rejected = 0

    async def __call__(
        self,
        data: bytes,
        *,
        ident: str = "",
        project: str = "",
        source: str = "",
        host: str = "",
        hosts: list[str] | None = None,
        codec: Codec | None = None,
        position: str | None = None,
        batch: BatchId | None = None,
        stored: tuple[str, bytes] | None = None,
        wait: bool = True,
    ) -> Receipt:
        """See dpiped.plugin.Emit."""
        origin = Origin(project or self._project, ident or self._ident, source, host, batch)
        drafts, rejected = await self._decode(data, codec or self._codec, origin, hosts, stored)
        if position is not None:
            drafts = _with_position(drafts, (self._name, position))
        await self._bury(rejected, origin, wait=wait)
        if not drafts:
            return _receipt(0, rejected, duplicate=False)
        duplicate = await self._append([Lot(drafts, batch)], wait=wait)
        return _receipt(sum(draft.head.count for draft in drafts), rejected, duplicate=duplicate)

    async def frames(self, frames: Sequence[Frame]) -> Receipt:
        """See dpiped.plugin.Emit."""
        lots: list[Lot] = []
        all_rejected: list[Rejected] = []
        for (stream, seq, nonce), group in groupby(frames, lambda f: (f.head.stream, f.head.seq, f.head.nonce)):
            batch = BatchId(stream, seq, nonce) if stream else None
            drafts: list[Draft] = []
            for frame in group:
                found, rejected, origin = await self._decode_frame(frame, batch)
                await self._bury(rejected, origin, wait=False)
                drafts += found
                all_rejected += rejected
            if drafts:
                lots.append(Lot(drafts, batch))
        if not lots:
            return _receipt(0, all_rejected, duplicate=False)
        duplicate = await self._append(lots, wait=False)
        accepted = sum(draft.head.count for lot in lots for draft in lot.drafts)
        return _receipt(accepted, all_rejected, duplicate=duplicate)

    async def _decode_frame(self, frame: Frame, batch: BatchId | None) -> tuple[list[Draft], list[Rejected], Origin]:
        head = frame.head
        origin = Origin(
            head.project or self._project, head.ident or self._ident, head.source, head.host, batch, head.hops
        )
        if not is_ident(origin.ident) or not is_name(origin.project):
            raise CodecError(f"frame with a project or ident that is not allowed: {origin.project!r} {origin.ident!r}")
        if not _is_sound(head):
            raise CodecError("frame with a source, host, stream or nonce that is too long or has control characters")
        body = decompress(head.encoding, frame.body, self._max_frame_bytes)
        if head.hops > MAX_HOPS:
            return (
                [],
                [Rejected(0, f"more than {MAX_HOPS} hops: do daemons send to each other in a circle?", body)],
                origin,
            )
        stored = (head.encoding, frame.body) if head.encoding == "zstd" and not head.codec else None
        codec = self._codec_of(head.codec or "json")
        drafts, rejected = await self._decode(body, codec, origin, None, stored)
        return drafts, rejected, origin

    # ---- decode --------------------------------------------------------------------------------------------------
    async def _decode(
        self, data: bytes, codec: Codec, origin: Origin, hosts: list[str] | None, stored: tuple[str, bytes] | None
    ) -> tuple[list[Draft], list[Rejected]]:
        """Piece by piece, so that the event loop is never held for long."""
        now = int(time.time() * 1000)
        if len(data) <= MAX_PACK_BYTES or hosts is not None:
            return self._decode_piece(data, codec, origin, hosts, stored, now)
        drafts: list[Draft] = []
        rejected: list[Rejected] = []
        lines = 0
        for piece in codec.cut(data, MAX_PACK_BYTES):
            found, bad = self._decode_piece(piece, codec, origin, None, None, now)
            drafts += found
            rejected += [Rejected(bad_line.line + lines, bad_line.reason, bad_line.raw) for bad_line in bad]
            lines += piece.count(b"\n")
            await asyncio.sleep(0)
        return drafts, rejected

    def _decode_piece(
        self,
        data: bytes,
        codec: Codec,
        origin: Origin,
        hosts: list[str] | None,
        stored: tuple[str, bytes] | None,
        now: int,
    ) -> tuple[list[Draft], list[Rejected]]:
        projection = self._router.projection_of(Route(origin.project, origin.ident, False, ""))
        context = DecodeContext(now, projection, self._time_spec, self._keep_old, hosts)
        decoded = codec.decode(data, context)
        self._count(decoded.counts)
        drafts = [
            draft for part in decoded.parts for draft in self._drafts(part, origin, now, decoded, stored, context)
        ]
        return drafts, decoded.rejected

    def _drafts(
        self,
        part: Part,
        origin: Origin,
        now: int,
        decoded: Decoded,
        stored: tuple[str, bytes] | None,
        context: DecodeContext,
    ) -> Iterable[Draft]:
        ident = f"{origin.ident}.{part.suffix}" if part.suffix else origin.ident
        keep = stored if decoded.canonical and stored is not None and is_one_frame(*stored, len(part.body)) else None
        if b"\r" in part.body:  # a blank of JSON, but the end of a line to many readers
            part, keep = dataclasses.replace(part, body=part.body.replace(b"\r", b" ")), None
        for piece in _split(part, context) if part.count > MAX_PACK_EVENTS else (part,):
            stream, seq, nonce = origin.batch or ("", -1, "")
            head = Head(
                project=origin.project,
                ident=ident,
                source=origin.source,
                host=origin.host,
                accepted_ms=now,
                min_ts=piece.min_ts,
                max_ts=piece.max_ts,
                count=piece.count,
                raw_bytes=len(piece.body),
                encoding=keep[0] if keep and piece is part else "",
                stream=stream,
                seq=seq,
                nonce=nonce,
                hops=origin.hops,
            )
            yield Draft(
                head,
                piece.body,
                keep[1] if keep and piece is part else None,
                context.projection if piece.events is not None else None,
                piece.events,
            )

    def _count(self, counts: Counter[str]) -> None:
        for what, amount in counts.items():
            self._telemetry.metrics.noted.labels(self._name, what).inc(amount)

    # ---- hand over -----------------------------------------------------------------------------------------------
    async def _append(self, lots: Sequence[Lot], *, wait: bool) -> bool:
        while True:
            try:
                duplicate = await self._journal.append(self._name, "input", lots)
            except UnavailableError as exc:
                self._telemetry.metrics.unavailable.labels(self._name).inc()
                if not wait:
                    raise
                await asyncio.sleep(exc.retry_after_secs * random.uniform(0.5, 1.0))
                continue
            if duplicate:
                self._telemetry.metrics.duplicates.labels(self._name).inc()
            else:
                drafts = [draft for lot in lots for draft in lot.drafts]
                accepted = sum(draft.head.count for draft in drafts)
                self.events += accepted
                self._events_in.inc(accepted)
                self._bytes_in.inc(sum(draft.head.raw_bytes for draft in drafts))
                self._packs_in.inc(len(drafts))
            return duplicate

    async def _bury(self, rejected: Sequence[Rejected], origin: Origin, *, wait: bool) -> None:
        """Returns when they are synced; counted and told once, also when the disk refuses them first."""
        if not rejected:
            return
        letters = await self._letters(rejected, origin)
        while True:
            try:
                await self._deadletters.put(letters)
            except LevelDbError as exc:
                text = f"the dead letter cannot be written: {exc}"
                self._telemetry.say("dead letters cannot be written", plugin=self._name, detail=str(exc), level=ERROR)
                if not wait:
                    raise UnavailableError(text, DISK_RETRY_SECS) from exc
                await asyncio.sleep(DISK_RETRY_SECS * random.uniform(0.5, 1.0))
            else:
                break
        self.rejected += len(rejected)
        self._project_logs.tell(origin.project, origin.ident, origin.source, rejected)
        self._telemetry.emit(EventsRejected(plugin=self._name, amount=len(rejected), reason=rejected[0].reason))

    async def _letters(self, rejected: Sequence[Rejected], origin: Origin) -> list[Letter]:
        now = int(time.time() * 1000)
        batch = origin.batch
        cause = f"{batch.stream}/{batch.seq}" if batch else f"{self._name}/{now:x}{random.getrandbits(32):08x}"
        letters: list[Letter] = []
        for start in range(0, len(rejected), LETTERS_AT_ONCE):
            letters += [
                Letter(
                    cause=f"{cause}/{bad.line}",
                    reason=bad.reason,
                    plugin=self._name,
                    by_runner=False,
                    project=origin.project,
                    ident=origin.ident,
                    source=origin.source,
                    host=origin.host,
                    at_ms=now,
                    raw=bad.raw,
                )
                for bad in rejected[start : start + LETTERS_AT_ONCE]
            ]
            await asyncio.sleep(0)
        return letters


def _is_sound(head: Head) -> bool:
    """Whether the texts of a head from outside may enter heads, marks and paths of ours."""
    limits = ((head.source, 1024), (head.host, 255), (head.stream, 300), (head.nonce, 100), (head.codec, 64))
    return all(len(text) <= most and CONTROL.search(text) is None for text, most in limits) and -1 <= head.seq < 1 << 62


def _with_position(drafts: list[Draft], position: tuple[str, str]) -> list[Draft]:
    """The last draft tells the position; all drafts of a lot are one write."""
    if not drafts:
        head = Head(ident=POSITION_IDENT, accepted_ms=int(time.time() * 1000), position=position)
        return [Draft(head, b"")]
    last = drafts[-1]
    last.head = msgspec.structs.replace(last.head, position=position)
    return drafts


def _split(part: Part, context: DecodeContext) -> Iterable[Part]:
    """Parts of at most MAX_PACK_EVENTS events."""
    lines = part.body.splitlines(keepends=True)
    events = part.events if part.events is not None else context.projection.decode(part.body)
    times = context.projection.column(events, "@timestamp")
    for at in range(0, part.count, MAX_PACK_EVENTS):
        some = [stamp for stamp in times[at : at + MAX_PACK_EVENTS] if isinstance(stamp, int)]
        chunk = lines[at : at + MAX_PACK_EVENTS]
        yield Part(part.suffix, b"".join(chunk), len(chunk), min(some), max(some), events[at : at + MAX_PACK_EVENTS])


def _receipt(accepted: int, rejected: Sequence[Rejected], *, duplicate: bool) -> Receipt:
    errors = [(bad.line, bad.reason) for bad in rejected[:SHOWN_ERRORS]]
    return Receipt(accepted, len(rejected), errors, duplicate)

"""Intake: how an input's bytes become packs in the journal.

data -> decoder -> drafts of packs, in one lot -> journal. Rejected lines are in the dead letter,
synced, before the sender hears of them. One Intake for each input; it is what the input calls `emit`.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby
from logging import ERROR

import msgspec

from dpiped.batch import PROJECT_MARK, BatchId
from dpiped.codecs.base import Codec, Rejected
from dpiped.codecs.times import TimeSpec
from dpiped.compression import decompress
from dpiped.config.base import LONGEST_HOST, is_ident, is_name
from dpiped.crashpoint import crash_point
from dpiped.deadletter import DeadLetters, Letter
from dpiped.decoder import Decoder, Origin, Result
from dpiped.errors import CodecError, UnavailableError
from dpiped.journal.append import Draft, Lot
from dpiped.journal.journal import Journal
from dpiped.journal.record import Frame
from dpiped.leveldb import LevelDbError
from dpiped.matcher import OWN_PREFIX
from dpiped.pack import EVENTS_IDENT, MAX_HOPS, NO_PROJECT, Head
from dpiped.plugin import Receipt
from dpiped.project_log import ProjectLogs
from dpiped.router import Router
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import rejections
from dpiped.unpacked import Unpacked, UnpackedRequest

SHOWN_ERRORS = 10
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that no text from outside may bring into a head; lone surrogates cannot even be stored."""
POSITION_IDENT = "_dpipe.position"
"""Ident of empty packs that only carry an input's position, when all that was read was rejected."""
DISK_RETRY_SECS = 2.0
LETTERS_AT_ONCE = 500
"""More dead letters are made in a thread."""
THREAD_FROM_BYTES = 128 << 10
"""Larger frames are decompressed in a thread."""


class _Refused:
    """What of some data was rejected: all are counted, the first ones are told."""

    def __init__(self) -> None:
        self._count = 0
        self._errors: list[tuple[int, str]] = []

    def add(self, rejected: Sequence[Rejected]) -> None:
        self._count += len(rejected)
        self._errors += [(bad.line, bad.reason) for bad in rejected[: SHOWN_ERRORS - len(self._errors)]]

    def receipt(self, accepted: int, *, duplicate: bool = False) -> Receipt:
        return Receipt(accepted, self._count, self._errors, duplicate)


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
        max_event_bytes: int,
        project_logs: ProjectLogs,
    ) -> None:
        self._name = name
        self._journal = journal
        self._deadletters = deadletters
        self._telemetry = telemetry
        self._project = project
        self._ident = ident
        self._codec = codec
        self._codec_of = codec_of
        self._decoder = Decoder(router, time_spec, keep_old=keep_old, max_event_bytes=max_event_bytes, count=self._note)
        self._project_logs = project_logs
        self.unpacked = Unpacked()
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
        if codec is not None:
            origin = origin._replace(codec=codec.name)
        refused = _Refused()
        pieces = self._decoder.decode(data, codec or self._codec, origin, hosts, stored)
        drafts = await self._take(pieces, origin, refused, wait=wait)
        if position is not None:
            drafts = _with_position(drafts, (self._name, position))
        if not drafts:
            return refused.receipt(0)
        duplicate = await self._append([Lot(drafts, batch)], wait=wait)
        return refused.receipt(sum(draft.head.count for draft in drafts), duplicate=duplicate)

    async def frames(self, frames: Sequence[Frame]) -> Receipt:
        """See dpiped.plugin.Emit."""
        refused = _Refused()
        with self.unpacked.request() as hold:
            lots = await self._take_frames(frames, refused, hold)
            if not lots:
                return refused.receipt(0)
            duplicate = await self._append(lots, wait=False)
            accepted = sum(draft.head.count for lot in lots for draft in lot.drafts)
            return refused.receipt(accepted, duplicate=duplicate)

    async def _take_frames(self, frames: Sequence[Frame], refused: _Refused, hold: UnpackedRequest) -> list[Lot]:
        lots: list[Lot] = []
        for (stream, seq, nonce), group in groupby(frames, lambda f: (f.head.stream, f.head.seq, f.head.nonce)):
            batch = BatchId(stream, seq, nonce) if stream else None
            drafts: list[Draft] = []
            for number, frame in enumerate(group):
                drafts += await self._take_frame(frame, batch, number, refused, hold)
            if drafts:
                lots.append(Lot(drafts, batch))
        return lots

    async def _take_frame(
        self, frame: Frame, batch: BatchId | None, number: int, refused: _Refused, hold: UnpackedRequest
    ) -> list[Draft]:
        head = frame.head
        project, ident = head.project, head.ident or self._ident
        codec = head.codec or "json"
        reason = _unfit(head, project, ident)
        if reason:  # its events are kept, under names that are allowed; other frames have no part in it
            origin = Origin(
                self._project, self._ident, "", "", batch if _has_sound_batch(head) else None, 0, codec, number
            )
        else:
            origin = Origin(project, ident, head.source, head.host, batch, head.hops, codec, number)
        if len(frame.body) < THREAD_FROM_BYTES or not head.encoding:
            body = decompress(head.encoding, frame.body, hold.room)
        else:
            body = await asyncio.to_thread(decompress, head.encoding, frame.body, hold.room)
        if hold.add(len(body)):
            await asyncio.sleep(0)
        if reason:
            await self._bury([Rejected(0, reason, body)], origin, refused, wait=False)
            return []
        stored = (head.encoding, frame.body) if head.encoding == "zstd" else None
        pieces = self._decoder.decode(body, self._codec_of(codec), origin, None, stored)
        return await self._take(pieces, origin, refused, wait=False)

    async def _take(
        self, pieces: AsyncIterator[Result], origin: Origin, refused: _Refused, *, wait: bool
    ) -> list[Draft]:
        """The drafts of all pieces; what was rejected of each is in the dead letter before the next is decoded."""
        drafts: list[Draft] = []
        async for piece in pieces:
            drafts += piece.drafts
            await self._bury(piece.rejected, origin, refused, wait=wait)
        return drafts

    async def again(self, letter: Letter) -> tuple[list[Draft], list[Rejected]]:
        """What an event that this intake refused becomes now, by the codec that it came for; nothing is appended."""
        origin = Origin(letter.project, letter.ident or self._ident, letter.source, letter.host)
        drafts: list[Draft] = []
        rejected: list[Rejected] = []
        try:
            codec = self._codec_of(letter.codec) if letter.codec else self._codec
            async for result in self._decoder.decode(letter.raw, codec, origin):
                drafts += result.drafts
                rejected += result.rejected
        except CodecError as exc:
            return [], [Rejected(1, str(exc), letter.raw)]
        return drafts, rejected

    def _note(self, what: str, amount: int) -> None:
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
            crash_point("intake.stored")
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

    async def _bury(self, rejected: Sequence[Rejected], origin: Origin, refused: _Refused, *, wait: bool) -> None:
        """Returns when they are synced; counted and told once, also when the disk refuses them first."""
        if not rejected:
            return
        refused.add(rejected)
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
        crash_point("deadletter.stored")
        self.rejected += len(rejected)
        self._project_logs.tell(origin.project, origin.ident, origin.source, rejected)
        for event in rejections(self._name, (bad.reason for bad in rejected)):
            self._telemetry.emit(event)

    async def _letters(self, rejected: Sequence[Rejected], origin: Origin) -> list[Letter]:
        now = int(time.time() * 1000)
        batch = origin.batch
        frame = f".{origin.frame}" if origin.frame else ""
        cause = f"{batch.stream}/{batch.seq}{frame}" if batch else f"{self._name}/{now:x}{random.getrandbits(32):08x}"

        def letter(bad: Rejected) -> Letter:
            return Letter(
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
                codec=origin.codec,
            )

        few = len(rejected) <= LETTERS_AT_ONCE
        return list(map(letter, rejected)) if few else await asyncio.to_thread(lambda: list(map(letter, rejected)))


def _unfit(head: Head, project: str, ident: str) -> str:
    """Why a head from outside may not enter heads, marks and paths of ours; empty if it may."""
    if not is_ident(ident) or not (project == NO_PROJECT or is_name(project)):
        return f"frame with a project or ident that is not allowed: {project[:LONGEST_HOST]!r} {ident[:LONGEST_HOST]!r}"
    if ident.partition(".")[0] == OWN_PREFIX and ident != EVENTS_IDENT:
        return f"frame with ident {ident!r}: idents that begin with {OWN_PREFIX} are the daemon's own"
    if not _has_sound_batch(head) or not _are_sound((head.source, 1024), (head.host, LONGEST_HOST)):
        return "frame with a source, host, stream or nonce that is too long or has characters that are not allowed"
    if head.hops < 0:
        return "frame with hops below 0"
    if head.hops > MAX_HOPS:
        return f"more than {MAX_HOPS} hops: do daemons send to each other in a circle?"
    return ""


def _has_sound_batch(head: Head) -> bool:
    """No stream is a project's."""
    texts_are_sound = _are_sound((head.stream, 300), (head.nonce, 100), (head.codec, 64))
    return texts_are_sound and PROJECT_MARK not in head.stream and -1 <= head.seq < 1 << 62


def _are_sound(*limits: tuple[str, int]) -> bool:
    return all(len(text) <= most and CONTROL.search(text) is None for text, most in limits)


def _with_position(drafts: list[Draft], position: tuple[str, str]) -> list[Draft]:
    """The last draft tells the position; all drafts of a lot are one write."""
    if not drafts:
        head = Head(ident=POSITION_IDENT, accepted_ms=int(time.time() * 1000), position=position)
        return [Draft(head, b"")]
    last = drafts[-1]
    last.head = msgspec.structs.replace(last.head, position=position)
    return drafts

"""Lane: one stream of batches, at most one of them in flight.

gather items -> batch id, ranges, nonce, endpoint saved and synced -> POST until it is settled -> the marks of its
items move. Once a send went unanswered, or the batch was found at start, it may have been stored: it is in doubt, and
stays with its endpoint until 200, 422 or 409. Only `failover_after_secs` ends that, counted as `in_doubt`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import ERROR

from collector.checkpoint import Checkpoint, Range, SavedBatch, Stream
from collector.feed import Feed
from collector.item import Item
from collector.sender import Answer, Pauses, Sender, Verdict
from dpiped.batch import BatchId
from dpiped.crashpoint import crash_point
from dpiped.errors import LockedError
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DeliveryRetried, EventsDropped

SAY_EVERY_SECS = 60.0
SHOWN_FILES = 3
_WORD = re.compile(r"[A-Za-z0-9_-]+")
PREFER_AGAIN_SECS = 60.0
"""So long after a failover the preferred endpoint is tried again."""
SLOW_PAUSE_SECS = 10.0
"""Least pause when only a person can help."""


@dataclass(frozen=True)
class LaneOptions:
    endpoints: tuple[str, ...]
    batch_bytes: int
    batch_secs: float
    failover_after_secs: float


class Lane:
    """Owns one Stream of the checkpoint. `run` is its task."""

    def __init__(
        self,
        stream: Stream,
        checkpoint: Checkpoint,
        sender: Sender,
        options: LaneOptions,
        telemetry: Telemetry,
        pauses: Callable[[], Pauses] = Pauses,
    ) -> None:
        self.stream = stream
        self.counts: Counter[str] = Counter()
        """"batches", "lines", "bytes", "duplicates", "rejected", "in_doubt", "retries", "failovers" -> how many so
        far.
        """
        self.trouble = ""
        """Why nothing goes out now; empty when all is well."""
        self._checkpoint = checkpoint
        self._sender = sender
        self._options = options
        self._telemetry = telemetry
        self._pauses = pauses
        self._queue: deque[Item] = deque()
        self._queued_bytes = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = asyncio.Event()
        self._halves: deque[list[Item]] = deque()
        self._busy = False
        self._failed_over_at = 0.0
        self._at = 0
        self._said_at = -SAY_EVERY_SECS

    # What feeds call

    async def put(self, item: Item) -> None:
        """Hands over an item; waits while two batches are waiting already."""
        while not self._room.is_set():
            await self._room.wait()
        self._queue.append(item)
        self._queued_bytes += item.raw_bytes
        self._some.set()
        if self._queued_bytes >= 2 * self._options.batch_bytes:
            self._room.clear()

    @property
    def idle(self) -> bool:
        """Whether everything that was put is settled."""
        return not (self._queue or self._halves or self._busy or self.stream.batch)

    def set_options(self, options: LaneOptions) -> None:
        """From the next batch on."""
        self._options, self._at = options, 0

    def hurry(self) -> None:
        """Nothing more will come soon: what waits is sent without waiting for more."""
        self._closing.set()

    # Delivery

    async def run(self, feeds: Mapping[str, Feed], stop: asyncio.Event) -> None:
        """Until `stop` is set; the batch in hand then is settled first. Raises LockedError on 409."""
        if self.stream.batch is not None:
            await self._found(self.stream.batch, feeds, stop)
        while not stop.is_set():
            items = self._halves.popleft() if self._halves else await self._gather(stop)
            if not items:
                continue
            self._busy = True
            if any(item.raw_bytes for item in items):
                await self._deliver(items, stop)
            else:
                self._settle(items)
            self._busy = False

    async def _gather(self, stop: asyncio.Event) -> list[Item]:
        """The items of the next batch; empty when the lane stops."""
        await _first(self._some, stop)
        if stop.is_set():
            return []
        deadline = time.monotonic() + self._options.batch_secs
        while self._queued_bytes < self._options.batch_bytes and not self._closing.is_set():
            self._some.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await _first(self._some, stop, self._closing)
            except TimeoutError:
                break
            if stop.is_set():
                return []
        items, size = [], 0
        while self._queue and (size < self._options.batch_bytes or not self._queue[0].raw_bytes):
            item = self._queue.popleft()
            items.append(item)
            size += item.raw_bytes
        self._queued_bytes -= size
        if not self._queue:
            self._some.clear()
        if self._queued_bytes < 2 * self._options.batch_bytes:
            self._room.set()
        return items

    async def _found(self, saved: SavedBatch, feeds: Mapping[str, Feed], stop: asyncio.Event) -> None:
        """The batch that was under way when the collector ended: made again, and in doubt."""
        items = []
        for what in saved.ranges:
            feed = feeds.get(what.input)
            item = await feed.again(what) if feed is not None else None
            if item is not None:
                items.append(item)
                continue
            self._give_up(what, "in_doubt", "cannot be read any more, and may have arrived or not")
            if feed is not None:
                feed.settle(Item(feed, what, "", "", b"", 0))
        if not any(item.raw_bytes for item in items):
            self.stream.batch = None
            self._settle(items)
            await self._checkpoint.save()
            return
        await self._send(items, saved, stop, doubt=True)

    async def _deliver(self, items: list[Item], stop: asyncio.Event) -> None:
        self.stream.seq += 1
        saved = SavedBatch(self.stream.seq, secrets.token_hex(6), self._endpoint(), [item.range for item in items])
        self.stream.batch = saved
        await self._checkpoint.save()
        crash_point("collector.begun")
        await self._send(items, saved, stop, doubt=False)

    def _endpoint(self) -> str:
        if self._at and time.monotonic() - self._failed_over_at > PREFER_AGAIN_SECS:
            self._at = 0
        return self._options.endpoints[self._at]

    async def _send(self, items: Sequence[Item], saved: SavedBatch, stop: asyncio.Event, *, doubt: bool) -> None:
        """Tries until the batch is settled. At a stop it goes on; who waits for it cancels it when the time is up."""
        batch = BatchId(self.stream.id, saved.seq, saved.nonce)
        body = b"".join(piece for item in items if item.raw_bytes for piece in item.frame(*batch))
        pauses, began, tries = self._pauses(), time.monotonic(), 0
        while True:
            answer = await self._sender.post(saved.endpoint, batch, body)
            crash_point("collector.answered")
            tries += 1
            if await self._is_settled(answer, items, doubt=doubt):
                return
            doubt = doubt or answer.verdict is Verdict.UNANSWERED
            slow = SLOW_PAUSE_SECS if answer.verdict is Verdict.MISCONFIGURED else 0.0
            pause = pauses.next(max(answer.retry_after_secs, slow))
            late = time.monotonic() - began > self._options.failover_after_secs
            elsewhere = len(self._options.endpoints) > 1 or saved.endpoint not in self._options.endpoints
            if elsewhere and (not doubt or late):
                if doubt:
                    self._count_doubt(items)
                doubt, began = False, time.monotonic()
                saved = await self._fail_over(saved)
                pause = 0.0 if tries % len(self._options.endpoints) else pause
            self._complain(answer, items, pause)
            await asyncio.sleep(pause)

    async def _is_settled(self, answer: Answer, items: Sequence[Item], *, doubt: bool) -> bool:
        match answer.verdict:
            case Verdict.STORED | Verdict.NOTHING_ACCEPTED:
                self._count(answer, items)
            case Verdict.CONFLICT:
                raise LockedError(
                    f"{answer.detail}: another collector uses stream {self.stream.id}; was data_dir copied or "
                    "restored? Give each collector its own, made by itself"
                )
            case Verdict.TOO_LARGE:
                if doubt:
                    self._count_doubt(items)
                await self._halve(items, answer)
                return True
            case _:
                return False
        self.stream.batch = None
        self._settle(items)
        self.trouble = ""
        return True

    async def _fail_over(self, saved: SavedBatch) -> SavedBatch:
        """The same batch for the next endpoint, saved before it is sent there."""
        endpoints = self._options.endpoints
        at = endpoints.index(saved.endpoint) if saved.endpoint in endpoints else -1
        self._at = (at + 1) % len(endpoints)
        self._failed_over_at = time.monotonic()
        self.counts["failovers"] += 1
        moved = SavedBatch(saved.seq, saved.nonce, endpoints[self._at], saved.ranges)
        self.stream.batch = moved
        await self._checkpoint.save()
        return moved

    async def _halve(self, items: Sequence[Item], answer: Answer) -> None:
        """Two batches with numbers of their own; what cannot be halved is given up."""
        self.stream.batch = None
        self.counts["halved"] += 1
        full = [item for item in items if item.raw_bytes]
        if len(full) > 1:
            middle = items.index(full[len(full) // 2])
            self._halves.extendleft([list(items[middle:]), list(items[:middle])])
            return
        halves = await full[0].feed.halve(full[0])
        at = items.index(full[0])
        if halves is None:
            self._give_up(full[0].range, "too_large", answer.detail, full[0].count_lines())
            self._settle(items)
            return
        self._halves.extendleft([[halves[1], *items[at + 1 :]], [*items[:at], halves[0]]])

    def _settle(self, items: Sequence[Item]) -> None:
        for item in items:
            item.feed.settle(item)

    # Telling

    def _count(self, answer: Answer, items: Sequence[Item]) -> None:
        self.counts["batches"] += 1
        self.counts["lines"] += answer.accepted + answer.rejected
        self.counts["bytes"] += sum(item.raw_bytes for item in items)
        self.counts["duplicates"] += answer.duplicate
        self.counts["rejected"] += answer.rejected
        if answer.verdict is Verdict.NOTHING_ACCEPTED and not answer.rejected:
            lines = sum(item.count_lines() for item in items)
            self._telemetry.emit(EventsDropped(plugin="collector", amount=lines, reason="refused"))
            text = f"the daemon can never take {lines} lines, and keeps none of them"
            self._telemetry.say(text, detail=answer.detail, level=ERROR)
        if answer.rejected:
            self._telemetry.say(
                f"the daemon rejected {answer.rejected} lines, they are in its dead letter", detail=answer.detail
            )

    def _count_doubt(self, items: Sequence[Item]) -> None:
        lines = sum(item.count_lines() for item in items)
        self.counts["in_doubt"] += lines
        self._telemetry.emit(EventsDropped(plugin="collector", amount=lines, reason="in_doubt"))

    def _give_up(self, what: Range, reason: str, detail: str, lines: int = 1) -> None:
        self.counts[reason] += lines
        self._telemetry.emit(EventsDropped(plugin=what.input, amount=lines, reason=reason))
        self._telemetry.say(f"{what.source or what.input} from {what.start} to {what.end}: {detail}")

    def _complain(self, answer: Answer, items: Sequence[Item], pause: float) -> None:
        """The first time, and then once a minute; where only a person can help, with the files that are held by it."""
        self.counts["retries"] += 1
        held = f"; held by it: {_told(items, answer.detail)}" if answer.verdict is Verdict.MISCONFIGURED else ""
        self.trouble = answer.detail + held
        if time.monotonic() - self._said_at >= SAY_EVERY_SECS:
            self._said_at = time.monotonic()
            self._telemetry.emit(DeliveryRetried(plugin="collector", error=self.trouble, again_secs=round(pause, 1)))


def _told(items: Sequence[Item], detail: str) -> str:
    """Some of the files, with what their frames ask of the daemon. First those with a codec or project that the answer
    names: the others only wait behind them.
    """
    words = set(_WORD.findall(detail))
    ranges = sorted((item.range for item in items), key=lambda what: not {what.codec, what.project} & words)
    files = [
        f"{what.source or what.input} (project {what.project!r}, ident {what.ident!r}, codec {what.codec!r})"
        for what in ranges
    ]
    files = list(dict.fromkeys(files))
    more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
    return ", ".join(files[:SHOWN_FILES]) + more


async def _first(*events: asyncio.Event) -> None:
    """Waits until one of the events is set."""
    if any(event.is_set() for event in events):
        return
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

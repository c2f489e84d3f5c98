"""The journal: everything that enters and everything that filters make of it, in one order.

One writer groups what waits, writes, syncs, then answers and wakes; a pack is readable only after that. The writer
also judges batch ids, since only it knows what is durable. The formats are in record.py and segment.py, the rules in
dpiped/README.md.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from dpiped.batch import PROJECT_MARK
from dpiped.errors import BatchConflictError, UnavailableError
from dpiped.journal.append import Append, Draft, Kind, Lot, gather, is_repeat
from dpiped.journal.base import Recovered, Storage, Wanted, learn
from dpiped.journal.reader import Reader
from dpiped.journal.record import Frame, Marks
from dpiped.journal.room import Room
from dpiped.journal.window import Window
from dpiped.pack import CACHE_HOLDER, PackPool, Route, encode_body
from dpiped.patience import patiently
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DamageFound, DataLost

GROUP_BYTES = 8 << 20
"""One write holds at most about so many bytes of bodies."""
GATHER_ROUNDS = 2
"""So many rounds of the loop others get to join a group, so that a sync is for more of them: 4 senders cost a fifth
less CPU, at no higher latency (measured).
"""
QUEUE_BYTES = 32 << 20
"""Above it whoever wants to append waits."""
FORGET_STREAM_MS = 30 * 24 * 3600 * 1000
FORGET_EVERY_SECS = 3600.0

Streams = ChainMap[str, tuple[int, str, int]]
"""stream -> (seq, nonce, when), as it will be when the group is written."""


class Journal:
    """Owns the storage, the window of recent packs and the writer task (`run`)."""

    def __init__(
        self,
        storage: Storage,
        pool: PackPool,
        telemetry: Telemetry,
        *,
        max_bytes: int,
        min_free_bytes: int = 0,
        on_commit: Callable[[Sequence[tuple[int, Route]]], None],
        readers: Callable[[], Iterable[Reader]],
    ) -> None:
        self.storage = storage
        self.pool = pool
        self._telemetry = telemetry
        self.room = Room(storage, telemetry, max_bytes, min_free_bytes)
        self._on_commit = on_commit
        self._readers = readers
        self.epoch = f"{int(time.time()):08x}{secrets.token_hex(4)}"
        self.marks = Marks(0, {}, {}, {})
        self.window = Window(pool, 0)
        self._queue: deque[Append] = deque()
        self._writing: list[Append] = []
        self._written = asyncio.Event()
        """Set when nothing is being written."""
        self._written.set()
        self._queued_bytes = 0
        self._waiting = asyncio.Event()
        self._queue_room = asyncio.Event()
        self._queue_room.set()
        self._forgot_at = time.monotonic()
        self._positions: deque[tuple[int, tuple[str, str]]] = deque()
        """(offset, position) of packs that not all runners have passed; only where the storage is not durable."""
        self._writer = ThreadPoolExecutor(1, "journal-writer")
        self._reading = ThreadPoolExecutor(2, "journal-reader")

    # ---- life ----------------------------------------------------------------------------------------------------
    async def open(self, at_least: int = 0) -> Recovered:
        """Opens the storage; the next offset is at least `at_least`, what cursors and saved boundaries know."""
        self.storage.on_damage = self._count_damage
        found = await patiently("journal", self.storage.open, self._telemetry)
        self.marks = found.marks
        self._tell_lost(found, at_least)
        self.storage.next = max(self.storage.next, at_least)
        self.window = Window(self.pool, self.storage.next)
        return found

    def _tell_lost(self, found: Recovered, at_least: int) -> None:
        for text in found.damage:
            self._telemetry.emit(DamageFound(place="journal", reason=text))
        losses = []
        if found.lost:
            losses.append((found.lost, "packs that were in or between the segments cannot be read any more"))
        unread = sum(first >= at_least for first in found.unread)  # else the cursors tell how much is missing
        if unread:
            losses.append((unread, "packs at the end cannot be read, at least so many"))
        end = self.storage.next
        if self.storage.begin() < end < at_least:  # nothing but a loss puts the end below a cursor
            losses.append((at_least - end, f"offsets missing at the end, from {end} on; cursors were at {at_least}"))
        for amount, reason in losses:
            self._telemetry.emit(DataLost(place="journal", amount=amount, reason=reason))

    def _count_damage(self, text: str) -> None:
        """Called in a reading thread."""
        self._telemetry.emit(DataLost(place="journal", amount=1, reason=text))

    async def close(self) -> None:
        """After the writer task has ended."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self.storage.close)
        self._writer.shutdown()
        self._reading.shutdown()
        self.window.trim(self.window.end)

    @property
    def next(self) -> int:
        """The offset after the last readable pack."""
        return self.window.end

    # ---- append --------------------------------------------------------------------------------------------------
    async def append(self, owner: str, kind: Kind, lots: Sequence[Lot]) -> bool:
        """Returns when all lots are durable: True if all of it was a repeat.

        Raises UnavailableError (nothing of it was stored) or BatchConflictError.
        """
        size = sum(draft.size for lot in lots for draft in lot.drafts)
        while kind == "input" and not self._queue_room.is_set():
            await self._queue_room.wait()
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        item = Append(owner, kind, lots, answer, size)
        self._queue.append(item)
        self._queued_bytes += size
        if self._queued_bytes > QUEUE_BYTES:
            self._queue_room.clear()
        self._waiting.set()
        return await answer

    async def settle(self, owner: str) -> None:
        """Withdraws what this owner still has in the queue and waits for what is being written."""
        for item in [item for item in self._queue if item.owner == owner]:
            self._queue.remove(item)
            self._unqueue(item)
            item.answer.cancel()
        while any(item.owner == owner for item in self._writing):  # not its answer: who was cancelled has none
            await self._written.wait()

    def _unqueue(self, item: Append) -> None:
        self._queued_bytes -= item.size
        if self._queued_bytes <= QUEUE_BYTES // 2:
            self._queue_room.set()

    async def run(self) -> None:
        """The writer task; ends when cancelled, between two groups or with one group unanswered."""
        while True:
            await self._waiting.wait()
            for _ in range(GATHER_ROUNDS):
                await asyncio.sleep(0)
            items = self._writing = self._take()
            self._written.clear()
            answers, drafts = self._judge(items)
            if drafts:
                failed = await self._write(gather(drafts))
                if failed is not None:
                    answers = dict.fromkeys(items, failed)
            self._writing = []
            self._written.set()
            for item in items:
                _answer(item, answers[item])

    def _take(self) -> list[Append]:
        items, size = [], 0
        while self._queue and size < GROUP_BYTES:
            item = self._queue.popleft()
            self._unqueue(item)
            items.append(item)
            size += item.size
        if not self._queue:
            self._waiting.clear()
        return items

    def _judge(self, items: Sequence[Append]) -> tuple[dict[Append, bool | Exception], list[Draft]]:
        """The answer of each item if the write succeeds, and what to write. A repeat is answered after the sync too."""
        streams: Streams = ChainMap({}, self.marks.streams)
        answers: dict[Append, bool | Exception] = {}
        drafts: list[Draft] = []
        for item in items:
            answer, new = self._judge_one(item, streams)
            answers[item] = answer
            drafts += new
        return answers, drafts

    def _judge_one(self, item: Append, streams: Streams) -> tuple[bool | Exception, list[Draft]]:
        fresh: list[Lot] = []
        trial = streams.new_child()
        for lot in item.lots:
            repeat = is_repeat(lot.batch, trial) if lot.batch is not None else False
            if repeat is None and lot.batch is not None:
                stream = lot.batch.stream.partition(PROJECT_MARK)[0]
                return BatchConflictError(f"batch {stream}/{lot.batch.seq} is not what this stream sent before"), []
            if not repeat:
                fresh.append(lot)
                if lot.batch is not None:
                    trial[lot.batch.stream] = (lot.batch.seq, lot.batch.nonce, 0)
        if not fresh:
            return bool(item.lots), []
        refused = self.room.refusal(item.kind)
        if refused is not None:
            return refused, []
        streams.update(trial.maps[0])
        return False, [draft for lot in fresh for draft in lot.drafts]

    async def _write(self, drafts: Sequence[Draft]) -> UnavailableError | None:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        try:
            frames = await loop.run_in_executor(self._writer, self._commit, drafts)
        except OSError as exc:
            return await self._cut(exc)
        self._telemetry.metrics.commit_seconds.observe(time.perf_counter() - started)
        self.room.wrote()
        self._publish(drafts, frames)
        return None

    def _commit(self, drafts: Sequence[Draft]) -> list[Frame]:
        """In the writer's thread: compresses what is not yet, names each pack, writes and syncs."""
        if time.monotonic() - self._forgot_at >= FORGET_EVERY_SECS:
            self._forgot_at = time.monotonic()
            self._forget_streams()
        frames = []
        for offset, draft in enumerate(drafts, self.storage.next):
            encoding = draft.head.encoding
            if draft.stored is None:
                encoding, draft.stored = encode_body(draft.body or b"")
            head = msgspec.structs.replace(draft.head, epoch=self.epoch, offset=offset, encoding=encoding)
            frames.append(Frame(head, draft.stored))
        self.storage.append(frames, self._snapshot_marks)
        return frames

    def _snapshot_marks(self) -> Marks:
        self._forget_streams()
        return Marks(self.storage.next, dict(self.marks.streams), dict(self.marks.positions), dict(self.marks.emitted))

    def _forget_streams(self) -> None:
        """Streams that nobody uses; in the writer's thread, while nothing else reads or changes them."""
        oldest = time.time() * 1000 - FORGET_STREAM_MS
        for name in [name for name, last in self.marks.streams.items() if last[2] <= oldest]:
            del self.marks.streams[name]

    async def _cut(self, exc: OSError) -> UnavailableError:
        """Takes the failed group back; until that is done nobody gets an answer and nothing else is written."""
        loop = asyncio.get_running_loop()
        pause = 0.05
        while True:
            answer = self.room.failed(exc)
            try:
                await loop.run_in_executor(self._writer, self.storage.cut)
            except OSError as again:
                exc = again
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            else:
                return answer

    def _publish(self, drafts: Sequence[Draft], frames: Sequence[Frame]) -> None:
        if self.window.end != frames[0].head.offset:  # offsets jumped after a loss
            self.window.trim(self.window.end)
            self.window.base = frames[0].head.offset
        packs, routes = [], []
        for draft, frame in zip(drafts, frames, strict=True):
            learn(self.marks, frame.head)
            if frame.head.position is not None and not self.storage.durable:
                self._positions.append((frame.head.offset, frame.head.position))
            pack = self.pool.take(frame.head, frame.body, draft.body, CACHE_HOLDER)
            pack.lacks = draft.lacks
            if draft.projection is not None and draft.events is not None:
                pack.remember(draft.projection, draft.events)
            packs.append(pack)
            routes.append((frame.head.offset, pack.route))
        self.window.add(packs)
        self._on_commit(routes)
        self.trim()

    # ---- read and free -------------------------------------------------------------------------------------------
    async def read_stored(
        self, offset: int, wanted: Callable[[Route], bool], most_bytes: int
    ) -> tuple[list[Frame], int]:
        """Like Storage.read, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, self.storage.read, offset, wanted, most_bytes)

    def passed_positions(self, low: int) -> dict[str, str]:
        """The last position of each input below `low`, told once. For memory journals: there inputs go on from it."""
        passed: dict[str, str] = {}
        while self._positions and self._positions[0][0] < low:
            name, place = self._positions.popleft()[1]
            passed[name] = place
        return passed

    def trim(self) -> None:
        """Lets the window go of what every reader has passed."""
        self.window.trim(min((reader.cursor for reader in self._readers()), default=self.next))

    async def free(self, wanted: Wanted, below: int) -> int:
        """Gives back room below an offset that nobody wants; the bytes that became free."""
        freed = await asyncio.get_running_loop().run_in_executor(self._reading, self.storage.free, wanted, below)
        self._telemetry.metrics.journal_bytes.set(self.storage.used_bytes)
        return freed


def _answer(item: Append, answer: bool | Exception) -> None:
    if item.answer.done():  # whoever asked is gone
        return
    if isinstance(answer, Exception):
        item.answer.set_exception(answer)
    else:
        item.answer.set_result(answer)

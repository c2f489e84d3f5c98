"""SpoolFeed: inputs that cannot be read again (syslog, stdin) go through a journal of the collector's own.

What was received is appended to it, and counts only then; lanes get what is readable. The spool is the daemon's
storage: groups written and synced together, torn tails cut, segments unlinked when everything in them is settled.
`spool = "memory"` keeps it in memory: at most once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from collector.checkpoint import Checkpoint, Range
from collector.config import SpooledOptions
from collector.feed import Feed, Put
from collector.item import Item
from dpiped.errors import DpipeError
from dpiped.journal.base import Storage
from dpiped.journal.disk import DiskStorage
from dpiped.journal.memory import MemoryStorage
from dpiped.journal.record import Frame, Marks
from dpiped.pack import Head, encode_body
from dpiped.quarantine import Quarantine
from dpiped.sources.threads import finish_in_thread
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DamageFound, DataLost

SEGMENT_BYTES = 8 << 20
READ_BYTES = 1 << 20
RETRY_SECS = 1.0
FREE_SECS = 5.0

Piece = tuple[str, bytes]
"""(host, whole lines)."""


class SpoolFeed(Feed):
    """A journal between a receiver and one lane."""

    def __init__(
        self,
        name: str,
        config: SpooledOptions,
        codec: str,
        folder: Path | None,
        checkpoint: Checkpoint,
        host: str,
        max_bytes: int,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(name, checkpoint)
        self.options = config
        self.host = config.host or host
        self.telemetry = telemetry
        self._codec = codec
        self._max_bytes = max_bytes
        on_disk = config.spool == "disk" and folder is not None
        self._storage: Storage = MemoryStorage()
        if on_disk and folder is not None:
            self._storage = DiskStorage(folder / name, SEGMENT_BYTES, Quarantine(folder.parent, telemetry))
        self._on_disk = on_disk
        self._settled = 0
        self._read = 0
        self._appended = asyncio.Event()
        self._freed = asyncio.Event()
        self._ended = False
        self._freed_at = 0.0
        self._in_hand: Sequence[Piece] = ()
        """Received, and not in the spool yet."""
        self._loop = asyncio.get_running_loop()

    @abstractmethod
    def receive(self) -> AsyncIterator[list[Piece]]:
        """What comes in, in order; ends when the input has ended for good."""

    async def rest(self) -> list[Piece]:
        """At a stop, after `receive` was cancelled: what it had taken from outside and not given yet."""
        return []

    async def open(self) -> None:
        self._storage.on_damage = self._count_damage
        found = await asyncio.to_thread(self._storage.open)
        for text in found.damage:
            self.telemetry.emit(DamageFound(place=f"spool {self.name}", reason=text))
        lost = found.lost + len(found.unread)
        if lost:
            self.telemetry.emit(DataLost(place=f"spool {self.name}", amount=lost, reason="blocks are missing"))
        self._settled = parse_settled(self.checkpoint.inputs.get(self.name, "0"))
        batches = [stream.batch for stream in self.checkpoint.streams if stream.batch is not None]
        under_way = [what.end for batch in batches for what in batch.ranges if what.input == self.name]
        self._read = max([self._settled, *under_way])
        self._storage.next = max(self._storage.next, self._read)
        self.checkpoint.providers[self.name] = lambda: str(self._settled)

    def _count_damage(self, text: str) -> None:
        """Also called in a reading thread."""
        self.telemetry.emit(DataLost(place=f"spool {self.name}", amount=1, reason=text))

    async def run(self, put: Put) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_in(), name=f"{self.name}-receive")
            group.create_task(self._hand_on(put), name=f"{self.name}-read")

    async def drain(self, put: Put) -> None:
        pieces = [*self._in_hand, *await self.rest()]
        if pieces:
            await self._append(pieces)
        if not self._on_disk:
            await self._hand_on_rest(put)

    async def _take_in(self) -> None:
        async for pieces in self.receive():
            self._in_hand = pieces
            await self._wait_for_room()
            await self._append(pieces)
        self._ended = True
        self._appended.set()

    async def _wait_for_room(self) -> None:
        """While the spool is full it takes nothing, and so who sends to us has to wait."""
        while self._storage.used_bytes >= self._max_bytes and self._read > 0:
            self._freed.clear()
            await self._free()
            if self._storage.used_bytes >= self._max_bytes:
                await _wait(self._freed, RETRY_SECS)

    async def _append(self, pieces: Sequence[Piece]) -> None:
        """Returns when it is durable; while the disk fails it tries again. Cancelled, it still ends the try that is
        under way.
        """
        while not await finish_in_thread(self._write, pieces):
            await self._cut()

    def _write(self, pieces: Sequence[Piece]) -> bool:
        frames = self._frames(pieces)
        try:
            self._storage.append(frames, self._marks)
        except OSError as exc:
            self.telemetry.say(f"the spool cannot be written: {exc}", plugin=self.name, level=logging.ERROR)
            return False
        self._in_hand = ()
        self.bytes += sum(frame.head.raw_bytes for frame in frames)
        self._loop.call_soon_threadsafe(self._appended.set)
        return True

    async def _cut(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECS)
            try:
                await asyncio.to_thread(self._storage.cut)
                return
            except OSError:  # told by `_append`; as long as the cut fails nothing else may be written
                continue

    def _marks(self) -> Marks:
        return Marks(self._storage.next, {}, {}, {})

    def _frames(self, pieces: Sequence[Piece]) -> list[Frame]:
        frames: list[Frame] = []
        for host, data in pieces:
            encoding, body = encode_body(data)
            head = Head(
                offset=self._storage.next + len(frames),
                project=self.options.project,
                ident=self.options.ident,
                host=host or self.host,
                accepted_ms=int(time.time() * 1000),
                raw_bytes=len(data),
                encoding=encoding,
                codec=self._codec,
            )
            frames.append(Frame(head, body))
        return frames

    async def _hand_on(self, put: Put) -> None:
        while not (self._ended and self._read >= self._storage.next):
            if self._read >= self._storage.next:
                self._appended.clear()
                await self._appended.wait()
            await self._hand_on_rest(put)

    async def _hand_on_rest(self, put: Put) -> None:
        while self._read < self._storage.next:
            frames, after = await asyncio.to_thread(self._storage.read, self._read, _all, READ_BYTES)
            for frame in frames:
                await put(0, self._item(frame))
                self._read = frame.head.offset + 1
            self._read = max(self._read, after)

    def _item(self, frame: Frame) -> Item:
        head = frame.head
        what = Range(self.name, head.project, head.ident, head.source, head.codec, head.offset, head.offset + 1)
        return Item(self, what, head.host, head.encoding, frame.body, head.raw_bytes)

    async def again(self, what: Range) -> Item | None:
        frames, _ = await asyncio.to_thread(self._storage.read, what.start, _all, 1)
        return self._item(frames[0]) if frames and frames[0].head.offset == what.start else None

    def settle(self, item: Item) -> None:
        self._settled = max(self._settled, item.range.end)
        self._freed.set()

    async def _free(self) -> None:
        """Gives back what is settled, as the checkpoint on disk says it."""
        settled = self._settled
        await self.checkpoint.save()
        self._freed_at = time.monotonic()
        try:
            await asyncio.to_thread(self._storage.free, lambda *_: False, settled)
        except OSError as exc:  # tried again with the next round
            detail = exc.strerror or str(exc)
            self.telemetry.say(
                "room of the spool cannot be given back", plugin=self.name, detail=detail, level=logging.ERROR
            )

    async def tend(self) -> None:
        """Called every second or so."""
        if time.monotonic() - self._freed_at > FREE_SECS and self._storage.first() < self._settled:
            await self._free()

    async def close(self) -> None:
        await asyncio.to_thread(self._storage.close)

    def status(self) -> dict[str, object]:
        return {"spool_bytes": self._storage.used_bytes, "waiting": self._storage.next - self._settled}


def parse_settled(text: str) -> int:
    """Raises DpipeError when the checkpoint has something else under the name of this input."""
    if not text.isdigit():
        raise DpipeError("the checkpoint has another kind of input under this name: give the input a new name")
    return int(text)


def _all(_: object) -> bool:
    return True


async def _wait(event: asyncio.Event, secs: float) -> None:
    try:
        async with asyncio.timeout(secs):
            await event.wait()
    except TimeoutError:
        return

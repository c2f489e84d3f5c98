"""Dead letters: events that were refused, with the reason and the bytes. LevelDB in `data_dir/deadletter`.

    key                          value
    d \\0 CAUSE                   Letter (msgpack); a repeat of the same cause overwrites
    t \\0 MILLISECONDS(8) CAUSE   empty: the order of age
    r                            Plan (msgpack): letters that are just being sent again, see retry.py

CAUSE names what made it: runner or stream, offset or SEQ, line. A letter is synced before the cursor moves or the
sender is answered. The folder is bounded in bytes and age: the oldest go first, counted.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby

import msgspec

from dpiped.errors import DpipeError
from dpiped.journal.state import Database
from dpiped.leveldb import UNSETTLED_KEY, LevelDbDamagedError
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DataLost, EventsDropped

VERSION = b"1"
MAX_BYTES = 256 << 20
MAX_AGE_SECS = 30 * 24 * 3600.0
EXPIRE_EVERY_SECS = 60.0
PLAN = b"r"
_TIME = struct.Struct(">Q")


class Letter(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One refused event. Fields are only ever added, at the end."""

    cause: str
    reason: str
    plugin: str
    """Who refused: the input's name, or the runner's."""
    by_runner: bool
    """True: a retry goes to that runner alone; False: through the whole road."""
    project: str
    ident: str
    source: str
    host: str
    at_ms: int
    raw: bytes
    codec: str = ""
    """How `raw` has to be read, if the sender said so; empty: as the input does."""


class Plan(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What is just being sent again: a batch id, and the letters in it. Fields are only ever added, at the end."""

    stream: str
    seq: int
    causes: list[str]


class DeadLetters:
    """Used on the event loop; what writes does so in one thread. Methods that block say so: call them in a thread."""

    def __init__(
        self,
        database: Database,
        telemetry: Telemetry,
        max_bytes: int = MAX_BYTES,
        keep_secs: float = MAX_AGE_SECS,
    ) -> None:
        self._database = database
        self._telemetry = telemetry
        self._max_bytes = max_bytes
        self._keep_secs = keep_secs
        self._thread = ThreadPoolExecutor(1, "deadletter")
        self._expired_at = 0.0
        self.count = 0
        self.bytes = 0
        self._unsure = False
        """A write failed: what it wrote may be there, so everything has to be counted again."""

    def open(self) -> None:
        """Counts what is there; blocking. Raises DpipeError when a newer version wrote it."""
        version = self._database.get(b"v")
        if version not in (None, VERSION):
            raise DpipeError(f"deadletter has layout {version!r}, this dpiped knows {VERSION!r}: start the newer one")
        self._count()
        self._database.write([(b"v", VERSION), (UNSETTLED_KEY, None)], sync=True)

    def _count(self) -> None:
        sizes = [len(value) for _, value in self._database.scan(b"d\0")]
        self.count, self.bytes = len(sizes), sum(sizes)
        self._measure()

    def _mend(self) -> None:
        """Damage that was found while it was in use: what can be read is kept, the rest is counted."""
        before = self.count
        self._database.mend()
        self._count()
        self._database.write([(b"v", VERSION), (UNSETTLED_KEY, None)], sync=True)
        amount = max(1, before - self.count)
        reason = "the database was damaged while it was in use; what could be read of it is kept"
        self._telemetry.emit(DataLost(place="deadletter", amount=amount, reason=reason))

    # ---- write -----------------------------------------------------------------------------------------------------
    async def put(self, letters: Sequence[Letter]) -> None:
        """Returns when they are synced. Raises LevelDbError."""
        if letters:
            await self._in_thread(partial(self.change, letters))

    async def drop(self, causes: Sequence[str]) -> int:
        """Removes them for good, counted; how many there were."""
        gone = await self._in_thread(partial(self.change, (), causes))
        if gone:
            self._telemetry.emit(EventsDropped(plugin="deadletter", amount=gone, reason="dropped_by_command"))
        return gone

    async def replace(self, letters: Sequence[Letter], remove: Iterable[str], plan: Plan | None) -> None:
        """In one synced step: what a retry leaves, what it has sent, and what it is about to send."""
        value = None if plan is None else msgspec.msgpack.encode(plan)
        await self._in_thread(partial(self.change, letters, remove, {PLAN: value}))

    async def expire(self) -> None:
        """Drops those past their age; looks at most once a minute."""
        if time.monotonic() - self._expired_at >= EXPIRE_EVERY_SECS:
            self._expired_at = time.monotonic()
            await self._in_thread(self._bound)

    async def _in_thread(self, work: Callable[[], int]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def change(
        self, put: Sequence[Letter] = (), remove: Iterable[str] = (), more: dict[bytes, bytes | None] | None = None
    ) -> int:
        """All in one synced batch; how many of `remove` were there. Blocking, by one thread only."""
        letters: dict[str, Letter | None] = dict.fromkeys(remove) | {letter.cause: letter for letter in put}
        try:
            return self._store(letters, more or {})
        except LevelDbDamagedError:
            self._mend()
            return self._store(letters, more or {})

    def _store(self, letters: dict[str, Letter | None], more: dict[bytes, bytes | None]) -> int:
        items: dict[bytes, bytes | None] = dict(more)
        count = size = gone = 0
        for cause, letter in letters.items():
            key = b"d\0" + cause.encode()
            old = self._database.get(key)
            if old is not None:
                items[_time_key(msgspec.msgpack.decode(old, type=Letter))] = None
                count -= 1
                size -= len(old)
                gone += letter is None
            if letter is not None:
                items[key] = value = msgspec.msgpack.encode(letter)
                items[_time_key(letter)] = b""
                count += 1
                size += len(value)
            elif old is not None:
                items[key] = None
        unsure, self._unsure = self._unsure, True
        if items:
            self._database.write(items.items(), sync=True)
        self._unsure = False
        self.count += count
        self.bytes += size
        if unsure:
            self._count()
        self._bound()
        return gone

    def _bound(self) -> int:
        """Drops the oldest until the folder is within its limits; how many."""
        oldest = int((time.time() - self._keep_secs) * 1000)
        gone: list[tuple[bytes, bytes | None]] = []
        freed = too_old = 0
        for key, _ in self._database.scan(b"t\0"):
            at_ms = _TIME.unpack_from(key, 2)[0]
            if self.bytes - freed <= self._max_bytes and at_ms >= oldest:
                break
            cause = key[2 + _TIME.size :]
            freed += len(self._database.get(b"d\0" + cause) or b"")
            gone += [(key, None), (b"d\0" + cause, None)]
            too_old += at_ms < oldest
        if gone:
            self._database.write(gone, sync=False)
            self.count -= len(gone) // 2
            self.bytes -= freed
            for amount, reason in ((too_old, "dead_letter_old"), (len(gone) // 2 - too_old, "dead_letter_full")):
                if amount:
                    self._telemetry.emit(EventsDropped(plugin="deadletter", amount=amount, reason=reason))
        self._measure()
        return len(gone) // 2

    def _measure(self) -> None:
        self._telemetry.metrics.letters.set(self.count)
        self._telemetry.metrics.letter_bytes.set(self.bytes)

    # ---- read ------------------------------------------------------------------------------------------------------
    def scan(self) -> Iterator[Letter]:
        """All letters, oldest first, and those of one moment in the order of their batch; blocking."""
        start = 2 + _TIME.size
        keys = (key for key, _ in self._database.scan(b"t\0"))
        for _, moment in groupby(keys, lambda key: key[:start]):
            yield from self.read(sorted((key[start:].decode() for key in moment), key=_in_order))

    def read(self, causes: Iterable[str]) -> list[Letter]:
        """Those of them that are there; blocking."""
        found = (self._database.get(b"d\0" + cause.encode("utf-8", "replace")) for cause in causes)
        return [msgspec.msgpack.decode(value, type=Letter) for value in found if value is not None]

    def plan(self) -> Plan | None:
        """What was being sent again when the daemon ended; blocking."""
        value = self._database.get(PLAN)
        return None if value is None else msgspec.msgpack.decode(value, type=Plan)

    def close(self) -> None:
        self._thread.shutdown()
        self._database.close()


def _in_order(cause: str) -> list[list[str]]:
    """SEQ, frame and line of a cause are numbers: 10 stands behind 9."""
    return [[n.zfill(20) if n.isdecimal() else n for n in part.split(".")] for part in cause.split("/")]


def _time_key(letter: Letter) -> bytes:
    return b"t\0" + _TIME.pack(letter.at_ms) + letter.cause.encode()

"""Dead letters: events that were refused, with the reason and the bytes. LevelDB in `data_dir/deadletter`.

    key                          value
    d \\0 CAUSE                   Letter (msgpack); a repeat of the same cause overwrites
    t \\0 MILLISECONDS(8) CAUSE   empty: the order of age

CAUSE names what made it: runner or stream, offset or SEQ, line. A letter is synced before the cursor moves or the
sender is answered. The folder is bounded in bytes and age: the oldest go first, counted.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from dpiped.errors import DpipeError
from dpiped.journal.state import Database
from dpiped.leveldb import UNSETTLED_KEY, LevelDbDamagedError
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DataLost, EventsDropped

VERSION = b"1"
MAX_BYTES = 256 << 20
MAX_AGE_SECS = 30 * 24 * 3600
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


class DeadLetters:
    """Used on the event loop; the database is used in one thread."""

    def __init__(self, database: Database, telemetry: Telemetry, max_bytes: int = MAX_BYTES) -> None:
        self._database = database
        self._telemetry = telemetry
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, "deadletter")
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

    def _mend(self) -> None:
        """Damage that was found while it was in use: what can be read is kept, the rest is counted."""
        before = self.count
        self._database.mend()
        self._count()
        self._database.write([(b"v", VERSION), (UNSETTLED_KEY, None)], sync=True)
        amount = max(1, before - self.count)
        self._telemetry.emit(DataLost(place="deadletter", amount=amount, reason="the database was damaged"))

    async def put(self, letters: Sequence[Letter]) -> None:
        """Returns when they are synced. Raises LevelDbError."""
        if letters:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._put, letters)

    def _put(self, letters: Sequence[Letter]) -> None:
        try:
            self._store(letters)
        except LevelDbDamagedError:
            self._mend()
            self._store(letters)

    def _store(self, letters: Sequence[Letter]) -> None:
        items: list[tuple[bytes, bytes | None]] = []
        added_count = added_bytes = 0
        for letter in {letter.cause: letter for letter in letters}.values():
            cause = letter.cause.encode()
            value = msgspec.msgpack.encode(letter)
            old = self._database.get(b"d\0" + cause)
            if old is not None:
                items.append((_time_key(msgspec.msgpack.decode(old, type=Letter)), None))
                added_count -= 1
                added_bytes -= len(old)
            items += [(b"d\0" + cause, value), (_time_key(letter), b"")]
            added_count += 1
            added_bytes += len(value)
        unsure, self._unsure = self._unsure, True
        self._database.write(items, sync=True)
        self._unsure = False
        self.count += added_count
        self.bytes += added_bytes
        if unsure:
            self._count()
        self._bound()

    def _bound(self) -> None:
        """Drops the oldest until the folder is within its limits."""
        oldest = int((time.time() - MAX_AGE_SECS) * 1000)
        gone: list[tuple[bytes, bytes | None]] = []
        freed = 0
        for key, _ in self._database.scan(b"t\0"):
            at_ms = _TIME.unpack_from(key, 2)[0]
            if self.bytes - freed <= self._max_bytes and at_ms >= oldest:
                break
            cause = key[2 + _TIME.size :]
            freed += len(self._database.get(b"d\0" + cause) or b"")
            gone += [(key, None), (b"d\0" + cause, None)]
        if gone:
            self._database.write(gone, sync=False)
            self.count -= len(gone) // 2
            self.bytes -= freed
            self._telemetry.emit(EventsDropped(plugin="deadletter", amount=len(gone) // 2, reason="dead_letter_full"))

    def scan(self) -> Iterator[Letter]:
        """All letters, by cause; blocking."""
        for _, value in self._database.scan(b"d\0"):
            yield msgspec.msgpack.decode(value, type=Letter)

    def remove(self, causes: Iterable[str]) -> None:
        """Blocking."""
        for cause in causes:
            value = self._database.get(b"d\0" + cause.encode())
            if value is not None:
                letter = msgspec.msgpack.decode(value, type=Letter)
                self._database.write([(b"d\0" + cause.encode(), None), (_time_key(letter), None)], sync=True)
                self.count -= 1
                self.bytes -= len(value)

    def close(self) -> None:
        self._thread.shutdown()
        self._database.close()


def _time_key(letter: Letter) -> bytes:
    return b"t\0" + _TIME.pack(letter.at_ms) + letter.cause.encode()

"""The state: cursors, each written in one batch with what belongs to it. LevelDB in `data_dir/state`.

    key                                   value (msgpack)
    v                                     version of this layout, b"1"
    c \\0 KIND \\0 NAME \\0 TYPE            Saved
    s \\0 KIND \\0 NAME \\0 TYPE \\0 KEY     one item of a stateful filter's snapshot
    l \\0 KIND \\0 NAME \\0 TYPE            list of Loss: given up by an operator, unread and not yet counted
    p \\0 INPUT                            position that all runners have passed (memory journals only)

Every batch is synced; what many runners want to save is gathered into one batch. So a cursor that `synced` tells is on
disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from dpiped.crashpoint import crash_point
from dpiped.errors import DpipeError
from dpiped.leveldb import Items

VERSION = b"1"


class RunnerKey(NamedTuple):
    """What a runner's state is filed under."""

    kind: str
    name: str
    type: str

    def key(self, letter: bytes) -> bytes:
        return b"\0".join((letter, *(part.encode() for part in self)))


class Saved(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One runner's line in the state. Fields are only ever added, at the end."""

    cursor: int
    generation: int = 1
    """Grows with each replay that an operator asked for; enters all derived names."""
    fingerprint: str = ""
    """Of the config keys that shape a stateful filter's state."""
    plugin: bytes | None = None
    """What `Output.saved()` gave."""
    batch: tuple[int, int] | None = None
    """Boundaries [first, end) of the stable batch that is or was being written."""
    seen_ms: int = 0
    """When a config last had this runner."""
    batch_epoch: str = ""
    """Epoch of the first pack of `batch`: with the boundaries it names the batch for ever."""


class Loss(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Packs of one route."""

    project: str
    ident: str
    emitted: bool
    only: str
    packs: int
    events: int


def cursor_key(key: bytes) -> RunnerKey:
    """The runner of a key that begins with `c`."""
    kind, name, type_name = key.decode().split("\0")[1:]
    return RunnerKey(kind, name, type_name)


class Database(Protocol):
    """What the state needs of LevelDb; a dict-like one serves the memory journal."""

    def get(self, key: bytes) -> bytes | None: ...
    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]: ...
    def write(self, items: Items, *, sync: bool) -> None: ...
    def close(self) -> None: ...


class MemoryDatabase:
    """Keeps nothing over a stop."""

    def __init__(self) -> None:
        self._items: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._items.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return sorted((key, value) for key, value in self._items.items() if key.startswith(prefix))

    def write(self, items: Items, *, sync: bool) -> None:
        for key, value in items:
            if value is None:
                self._items.pop(key, None)
            else:
                self._items[key] = value

    def close(self) -> None:
        self._items.clear()


class PositionsDatabase(MemoryDatabase):
    """For memory journals: positions of inputs are on disk, nothing else, since offsets mean nothing after a stop."""

    def __init__(self, disk: Database) -> None:
        super().__init__()
        self._disk = disk

    def get(self, key: bytes) -> bytes | None:
        return self._disk.get(key) if key.startswith(b"p\0") else super().get(key)

    def write(self, items: Items, *, sync: bool) -> None:
        items = list(items)
        places = [item for item in items if item[0].startswith(b"p\0")]
        if places:
            self._disk.write(places, sync=sync)
        super().write([item for item in items if not item[0].startswith(b"p\0")], sync=sync)

    def close(self) -> None:
        super().close()
        self._disk.close()


class State:
    """Used on the event loop; its writes happen in one thread, gathered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "state")
        self._queue: list[tuple[list[tuple[bytes, bytes | None]], asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self.synced: dict[RunnerKey, Saved] = {}
        """What is on disk of each runner."""
        self.is_new = False
        """Nothing was there at `open`: a first start, or the state was lost."""

    def open(self) -> None:
        """Reads all cursors; blocking. Syncs once: what is found may not have been synced by the daemon before."""
        version = self._database.get(b"v")
        if version not in (None, VERSION):
            raise DpipeError(f"state has layout {version!r}, this dpiped knows {VERSION!r}: start the newer one")
        self.is_new = version is None
        self._database.write([(b"v", VERSION)], sync=True)
        for key, value in self._database.scan(b"c\0"):
            self.synced[cursor_key(key)] = msgspec.msgpack.decode(value, type=Saved)

    @property
    def highest(self) -> int:
        """No offset below it may be given again."""
        return max(
            (max(saved.cursor, saved.batch[1] if saved.batch else 0) for saved in self.synced.values()), default=0
        )

    def snapshot(self, runner: RunnerKey) -> list[tuple[bytes, bytes]]:
        """All items of a stateful filter's state."""
        prefix = runner.key(b"s") + b"\0"
        return [(key[len(prefix) :], value) for key, value in self._database.scan(prefix)]

    def position(self, name: str) -> str | None:
        """Where an input with a memory journal goes on."""
        value = self._database.get(b"p\0" + name.encode())
        return None if value is None else value.decode()

    async def save_positions(self, positions: dict[str, str]) -> None:
        """For memory journals: positions that all runners have passed."""
        await self._write([(b"p\0" + name.encode(), place.encode()) for name, place in positions.items()])

    async def save(self, runner: RunnerKey, saved: Saved, changes: Iterable[tuple[bytes, bytes | None]] = ()) -> None:
        """Cursor and what belongs to it, in one synced batch. Raises LevelDbError: save the same again."""
        prefix = runner.key(b"s") + b"\0"
        saved = msgspec.structs.replace(saved, seen_ms=int(time.time() * 1000))
        items: list[tuple[bytes, bytes | None]] = [(prefix + key, value) for key, value in changes]
        items.append((runner.key(b"c"), msgspec.msgpack.encode(saved)))
        await self._write(items)
        self.synced[runner] = saved

    async def take_losses(self, runner: RunnerKey) -> list[Loss]:
        """What an operator took away before the runner had read it; told once. Blocks for one key."""
        value = self._database.get(runner.key(b"l"))
        if value is None:
            return []
        await self._write([(runner.key(b"l"), None)])
        return msgspec.msgpack.decode(value, type=list[Loss])

    async def forget(self, runner: RunnerKey) -> None:
        """Removes all that is known of a runner."""
        keys = [runner.key(b"c"), runner.key(b"l"), *(key for key, _ in self._database.scan(runner.key(b"s") + b"\0"))]
        await self._write([(key, None) for key in keys])
        self.synced.pop(runner, None)

    async def forget_snapshot(self, runner: RunnerKey) -> None:
        """Sets a stateful filter's state aside; its cursor stays."""
        await self._write([(key, None) for key, _ in self._database.scan(runner.key(b"s") + b"\0")])

    async def _write(self, items: list[tuple[bytes, bytes | None]]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((items, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="state writer")
        await asyncio.shield(done)

    async def _flush(self) -> None:
        """Writes whatever waits, in one batch each time, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._queue:
            waiting, self._queue = self._queue, []
            batch = [item for items, _ in waiting for item in items]
            error: Exception | None = None
            crash_point("state.writing")
            try:
                await loop.run_in_executor(self._thread, partial(self._database.write, batch, sync=True))
            except Exception as exc:  # whatever it is, those who wait have to know
                error = exc
            crash_point("state.written")
            for _, done in waiting:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

    async def close(self) -> None:
        if self._flushing is not None:
            await self._flushing
        self._thread.shutdown()
        self._database.close()

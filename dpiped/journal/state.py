"""The state: cursors, each written in one batch with what belongs to it. LevelDB in `data_dir/state`.

    key                                   value (msgpack)
    v                                     version of this layout, b"1"
    c \\0 KIND \\0 NAME \\0 TYPE            Saved
    s \\0 KIND \\0 NAME \\0 TYPE \\0 KEY     one item of a stateful filter's snapshot
    l \\0 KIND \\0 NAME \\0 TYPE            list of Loss: given up by an operator, unread and not yet counted
    p \\0 INPUT                            position that all runners have passed (memory journals only)

Every batch is synced; what many runners want to save is gathered into one batch. So a cursor that `synced` tells is on
disk.

What is damaged costs the runners it belongs to their cursors or snapshots, and nobody else. `lost` names them, and
`incomplete` says that others may be missing: whoever has no cursor then begins at the oldest pack, not at the newest.
The database keeps the mark `~unsettled` until all of them have new cursors, so that a crash in between changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from dpiped.crashpoint import crash_point
from dpiped.errors import DpipeError
from dpiped.leveldb import UNSETTLED_KEY, Items, LevelDbDamagedError
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DataLost

VERSION = b"1"
FREED_KEY = b"f"
"""Its value: below this offset the journal was given back."""
FORGET_MS = 7 * 24 * 3600 * 1000
"""So long cursor and state of a runner that left the config are kept."""


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
    """When a config last had this runner, as far as was noted."""
    batch_epoch: str = ""
    """Epoch of the first pack of `batch`: with the boundaries it names the batch for ever."""
    left: int = -1
    """The next offset when the config was first without this runner; -1 while it has it."""


class Loss(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Packs of one route."""

    project: str
    ident: str
    emitted: bool
    only: str
    packs: int
    events: int


class Database(Protocol):
    """What the state needs of LevelDb; a dict-like one serves the memory journal."""

    def get(self, key: bytes) -> bytes | None: ...
    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]: ...
    def write(self, items: Items, *, sync: bool) -> None: ...
    def mend(self) -> None: ...
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

    def mend(self) -> None:
        """It cannot be damaged."""

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

    def mend(self) -> None:
        self._disk.mend()

    def close(self) -> None:
        super().close()
        self._disk.close()


class State:
    """Used on the event loop; its writes happen in one thread, gathered."""

    def __init__(self, database: Database, telemetry: Telemetry | None = None, found: str = "") -> None:
        """`found`: what was done about damage when the database was opened."""
        self._database = database
        self._telemetry = telemetry or Telemetry()
        self._thread = ThreadPoolExecutor(1, "state")
        self._queue: list[tuple[list[tuple[bytes, bytes | None]], asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self.synced: dict[RunnerKey, Saved] = {}
        """What is on disk of each runner."""
        self.incomplete = False
        """Nothing was there at `open`, or not everything: a first start, or state was lost."""
        self.lost: set[RunnerKey] = set()
        """Runners whose cursor or snapshot is known to be lost: they begin at the oldest pack."""
        self.anew: list[RunnerKey] = []
        """Runners that began at the oldest pack because of that."""
        self._found = [found] if found else []
        """What was not as it should be when it was opened."""
        self.freed: int | None = None
        """Below it the journal was given back; None when nobody knows."""
        self.losses = 0
        """How often the database was mended while it was in use; whoever keeps a snapshot looks at it."""

    def open(self) -> None:
        """Reads all cursors; blocking. Syncs once: what is found may not have been synced by the daemon before.

        Raises DpipeError when a newer version wrote it.
        """
        version = self._database.get(b"v")
        if version not in (None, VERSION):
            raise DpipeError(f"state has layout {version!r}, this dpiped knows {VERSION!r}: start the newer one")
        mended = version is not None and self._database.get(UNSETTLED_KEY) is not None
        self.incomplete = version is None or mended
        unsettled: list[tuple[bytes, bytes | None]] = [(UNSETTLED_KEY, b"1")] if self.incomplete else []
        self._database.write([(b"v", VERSION), *unsettled], sync=True)
        freed = self._database.get(FREED_KEY)
        self.freed = None if freed is None else int(freed)
        for key, value in list(self._database.scan(b"c\0")):
            self._read_cursor(key, value, mended=mended)

    def _read_cursor(self, key: bytes, value: bytes, *, mended: bool) -> None:
        runner = runner_of(key)
        saved = decode_saved(value)
        if runner is None or saved is None:
            self._found.append(f"the cursor of {key[2:].decode(errors='replace').replace(chr(0), ' ')} is damaged")
            self._lose(runner)
        elif mended and runner.kind == "filter":  # parts of its snapshot may be gone, or older than the cursor
            self._lose(runner)
        else:
            self.synced[runner] = saved
            return
        gone = [key] if runner is None else self._keys(runner)
        self._database.write([(key, None) for key in gone], sync=True)

    def _lose(self, runner: RunnerKey | None) -> None:
        if runner is None:
            self.incomplete = True
            self._database.write([(UNSETTLED_KEY, b"1")], sync=True)
        else:
            self.lost.add(runner)

    def _keys(self, runner: RunnerKey) -> list[bytes]:
        return [runner.key(b"c"), *(key for key, _ in self._database.scan(runner.key(b"s") + b"\0"))]

    def is_lost(self, runner: RunnerKey) -> bool:
        """Whether a runner without a cursor had one: then it begins at the oldest pack."""
        return self.incomplete or runner in self.lost

    def note_freed(self, end: int) -> None:
        """Before the journal gives back what is below; blocking. Raises LevelDbError."""
        if self.freed is None or end > self.freed:
            self._database.write([(FREED_KEY, b"%d" % end)], sync=True)
            self.freed = end

    async def complete(self) -> None:
        """All runners of the config have cursors: those that come from now on are new, whatever was lost before."""
        self._tell_opened()
        if self.incomplete:
            await self._write([(UNSETTLED_KEY, None)])
            self.incomplete = False

    def _tell_opened(self) -> None:
        """In one line: what was found, what was kept of it, and what that means."""
        found, self._found = self._found, []
        anew, self.anew = self.anew, []
        if not found and not anew:
            return
        kept = sorted(runner.name for runner in self.synced if runner not in anew)
        told = found or ["it is gone, and the journal is not"]
        told.append(f"cursors kept: {', '.join(kept) or 'none'}")
        self._tell_lost([*told, *_meaning(anew)], len(anew))

    def _tell_lost(self, told: Sequence[str], amount: int) -> None:
        self._telemetry.emit(DataLost(place="state", amount=max(1, amount), reason="; ".join(told)))

    @property
    def highest(self) -> int:
        """No offset below it may be given again."""
        return max(
            (max(saved.cursor, saved.batch[1] if saved.batch else 0) for saved in self.synced.values()), default=0
        )

    def snapshot(self, runner: RunnerKey) -> list[tuple[bytes, bytes]]:
        """All items of a stateful filter's state; blocking. Raises LevelDbError; when it is damaged, call `mend`."""
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
        saved = msgspec.structs.replace(saved, seen_ms=int(time.time() * 1000), left=-1)
        items: list[tuple[bytes, bytes | None]] = [(prefix + key, value) for key, value in changes]
        items.append((runner.key(b"c"), msgspec.msgpack.encode(saved)))
        await self._write(items)
        self.synced[runner] = saved
        self.lost.discard(runner)

    async def leave(self, here: Collection[RunnerKey], next_offset: int) -> list[RunnerKey]:
        """Notes which runners the config does not have; those that left 7 days ago are forgotten, and returned."""
        now = int(time.time() * 1000)
        away = {runner: saved for runner, saved in self.synced.items() if runner not in here}
        for runner, saved in away.items():
            if saved.left < 0:
                noted = msgspec.structs.replace(saved, left=next_offset, seen_ms=now)
                await self._write([(runner.key(b"c"), msgspec.msgpack.encode(noted))])
                self.synced[runner] = noted
        old = [runner for runner, saved in away.items() if saved.left >= 0 and saved.seen_ms < now - FORGET_MS]
        for runner in old:
            await self.forget(runner)
        return old

    async def take_losses(self, runner: RunnerKey) -> list[Loss]:
        """What an operator took away before the runner had read it; told once. Blocks for one key."""
        value = self._database.get(runner.key(b"l"))
        if value is None:
            return []
        await self._write([(runner.key(b"l"), None)])
        return msgspec.msgpack.decode(value, type=list[Loss])

    async def forget(self, runner: RunnerKey) -> None:
        """Removes all that is known of a runner."""
        keys = await asyncio.to_thread(self._keys, runner)
        await self._write([(key, None) for key in keys])
        self.synced.pop(runner, None)

    async def forget_snapshot(self, runner: RunnerKey) -> None:
        """Sets a stateful filter's state aside; its cursor stays."""
        keys = (await asyncio.to_thread(self._keys, runner))[1:]
        await self._write([(key, None) for key in keys])

    async def mend(self) -> None:
        """After LevelDbDamagedError: the database is repaired or begun anew, and gets the cursors that are known.

        Snapshots may be gone, so filters are `lost`. Raises LevelDbError when that cannot be done now.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._mend)

    def _mend(self) -> None:
        self._database.mend()
        self.losses += 1
        items: list[tuple[bytes, bytes | None]] = [(b"v", VERSION)]
        if self.freed is not None:
            items.append((FREED_KEY, b"%d" % self.freed))
        anew = []
        for runner, saved in list(self.synced.items()):
            if runner.kind == "filter":
                items += [(key, None) for key in self._keys(runner)]
                del self.synced[runner]
                self._lose(runner)
                anew.append(runner)
            else:
                items.append((runner.key(b"c"), msgspec.msgpack.encode(saved)))
        self._database.write(items, sync=True)
        found = "the database was damaged while it was in use, and is mended; the cursors of outputs are kept"
        self._tell_lost([found, *(_meaning(anew) if anew else ())], len(anew))
        if not self.incomplete and not self.lost:
            self._database.write([(UNSETTLED_KEY, None)], sync=True)

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
                await loop.run_in_executor(self._thread, partial(self._put, batch))
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

    def _put(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        try:
            self._database.write(batch, sync=True)
        except LevelDbDamagedError:
            self._mend()
            raise

    async def close(self) -> None:
        if self._flushing is not None:
            await self._flushing
        self._thread.shutdown()
        self._database.close()


def _meaning(anew: Collection[RunnerKey]) -> Iterable[str]:
    """Of runners that begin at the oldest pack, in words."""
    outputs, filters = (", ".join(one.name for one in anew if one.kind == kind) for kind in ("output", "filter"))
    if outputs:
        yield f"outputs that begin at the oldest pack: {outputs}; what they had delivered may come again"
    if filters:
        yield f"filters that begin at the oldest pack, empty: {filters}; they know only what is still in the journal"
    if not anew:
        yield "what was saved last may be missing: a few packs may come again"


def runner_of(key: bytes) -> RunnerKey | None:
    """The runner of a cursor's key; None when it was not written by `RunnerKey.key`."""
    try:
        parts = key.decode().split("\0")[1:]
    except UnicodeDecodeError:
        return None
    return RunnerKey(*parts) if len(parts) == 3 else None


def decode_saved(value: bytes) -> Saved | None:
    """None when it is damaged."""
    try:
        return msgspec.msgpack.decode(value, type=Saved)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None

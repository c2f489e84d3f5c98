"""BehaviorTable: the actions of one table, in a LevelDB of its own below `data_dir/behavior/`.

One database a table, since each has one writer: a slow, damaged or removed one disturbs no other, and a renamed output
finds its table again. What comes is stored fresh, a block a pack, in one synced batch a call. When there are FOLD_ROWS
of fresh rows they are folded: sorted by user, cut by bucket and day, and put in place of the fresh ones in one batch.
So a row is written twice, and a scan reads a table bucket by bucket, in bulk.

A pack that comes again overwrites its fresh block; if that was folded meanwhile, its rows are there twice until they
are folded or read together: rows with one identity are one (rows.py). Reading and folding may overlap with anything.

Blocking; call it in threads. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dpiped.behavior import block
from dpiped.behavior.block import Place
from dpiped.behavior.rows import BUCKETS, DAY_MS, Rows, buckets_of, join, ordered
from dpiped.errors import DpipeError
from dpiped.files import make_folder
from dpiped.leveldb import LevelDb, LevelDbDamagedError, Snapshot
from dpiped.quarantine import Quarantine
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import DataLost

FOLD_ROWS, FOLD_PACKS = 1 << 18, 4096
"""So many of them are folded; every scan reads all that are fresh, so it takes up to 50 ms more (measured)."""
SMALL_ROWS = 1024
"""A block below this grows with the next rows of its bucket and day, instead of standing beside them."""
META = b"m"


class Meta(msgspec.Struct, frozen=True):
    """What the table is."""

    texts: bool
    """Whether uids are texts; it cannot change."""
    number: int = 0
    """Of the next settled block."""
    version: int = block.VERSION


class WrongTableError(DpipeError):
    """The table holds something else than the config says."""


class Size(NamedTuple):
    """How much is there."""

    rows: int
    blocks: int
    first_day: int | None
    last_day: int | None
    """Days since 1970 of settled rows."""


class BehaviorTable:
    """One table, open for one writer and any readers."""

    def __init__(
        self, data_dir: Path, name: str, telemetry: Telemetry, *, texts: bool, dims: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.texts = texts
        self.dims = dims
        """Dimensions that are kept now; what is stored may have others."""
        self.fold_rows = FOLD_ROWS
        self._place = f"behavior/{name}"
        self._telemetry = telemetry
        folder = data_dir / "behavior"
        make_folder(folder)
        self._database = LevelDb(folder / name, quarantine=Quarantine(data_dir, telemetry))
        self._changing = threading.Lock()
        """Held by what moves or drops blocks."""
        self._fresh: dict[bytes, int] = {}
        try:
            self._take_up(self._database.mended > 0, self._database.dropped)
        except BaseException:
            self._database.close()
            raise

    def _take_up(self, was_damaged: bool, dropped: int) -> None:
        """Counts what is there, tells of damage, and says what the table is."""
        if was_damaged:
            reason = self._database.became
            self._telemetry.emit(DataLost(place=self._place, amount=max(1, dropped), reason=reason))
        with self._database.snapshot() as snapshot:
            fresh = snapshot.scan(block.FRESH, block.AFTER_FRESH)
            self._fresh = {key: len(self._decode(value)) for key, value in fresh} if self._check_meta() else {}
            numbers = [place.number for place in _places(snapshot)]
        self._meta = Meta(self.texts, max(numbers, default=-1) + 1)
        self._database.write([(META, msgspec.msgpack.encode(self._meta))], sync=True)
        if self._database.unsettled:
            self._database.settle()

    def _check_meta(self) -> bool:
        """Whether it says what it is. Raises WrongTableError."""
        stored = self._database.get(META)
        if stored is None:
            return False
        meta = msgspec.msgpack.decode(stored, type=Meta)
        if meta.version > block.VERSION:
            known = f"this dpiped knows {block.VERSION}"
            raise WrongTableError(f"{self._place} has layout {meta.version}, {known}: start the newer one")
        if meta.texts != self.texts:
            kind = "string" if meta.texts else "int"
            raise WrongTableError(f"{self._place} holds uids of type {kind}: keep that, or name another table")
        return True

    def _decode(self, value: bytes) -> Rows:
        return block.decode(value, texts=self.texts)

    # ---- write -----------------------------------------------------------------------------------------------------
    def add(self, packs: Sequence[tuple[str, int, Rows]]) -> None:
        """Stores (epoch, offset, rows) of some packs, durably; also packs that are there. Raises LevelDbError."""
        fresh = [(block.fresh_key(epoch, offset), rows) for epoch, offset, rows in packs if len(rows)]
        items = [(key, block.encode(rows)) for key, rows in fresh]
        self._mending(lambda: self._database.write(items, sync=True))
        self._fresh.update({key: len(rows) for key, rows in fresh})

    def _mending(self, work: Callable[[], None]) -> None:
        """Once more, when damage was found and mended."""
        try:
            work()
        except LevelDbDamagedError:
            with self._changing:
                before = self._database.dropped
                self._database.mend()
                self._take_up(True, self._database.dropped - before)
            work()

    @property
    def fresh_rows(self) -> int:
        return sum(list(self._fresh.values()))

    @property
    def wants_fold(self) -> bool:
        """Whether there is enough that it pays."""
        return self.fresh_rows >= self.fold_rows or len(self._fresh) >= FOLD_PACKS

    def fold(self) -> int:
        """Settles what is fresh now; how many rows there were. Raises LevelDbError."""
        done = 0

        def work() -> None:
            nonlocal done
            with self._changing:
                done = self._fold()

        self._mending(work)
        return done

    def _fold(self) -> int:
        with self._database.snapshot() as snapshot:
            stored = dict(snapshot.scan(block.FRESH, block.AFTER_FRESH))
            if not stored:
                return 0
            rows = join([self._decode(value) for value in stored.values()])
            items: list[tuple[bytes, bytes | None]] = [(key, None) for key in stored]
            number = self._meta.number
            for bucket, day, mine in _cut(rows):
                old, mine = self._with_small(snapshot, bucket, day, mine)
                items += [(key, None) for key in old]
                items.append((block.settled_key(Place(bucket, day, number, len(mine))), block.encode(mine)))
                number += 1
        meta = msgspec.structs.replace(self._meta, number=number)
        self._database.write([*items, (META, msgspec.msgpack.encode(meta))], sync=True)
        self._meta = meta
        for key in stored:
            self._fresh.pop(key, None)
        return len(rows)

    def _with_small(self, snapshot: Snapshot, bucket: int, day: int, rows: Rows) -> tuple[list[bytes], Rows]:
        """The newest block of a bucket and day, if it is small, and the rows, which are in order, together with it."""
        keys = list(snapshot.keys(block.first_of(bucket, day), block.first_of(bucket, day + 1)))
        if not keys or block.place_of(keys[-1]).rows >= SMALL_ROWS:
            return [], rows
        value = self._database.get(keys[-1])
        return keys[-1:], rows if value is None else ordered(join([self._decode(value), rows]))

    def expire(self, before_day: int) -> int:
        """Drops what lies before this day, and gives its room back; how many rows. Raises LevelDbError."""
        gone = 0

        def work() -> None:
            nonlocal gone
            with self._changing:
                gone = self._expire(before_day)

        self._mending(work)
        return gone

    def _expire(self, before_day: int) -> int:
        gone = 0
        for bucket in range(BUCKETS):
            start, stop = block.first_of(bucket), block.first_of(bucket, before_day)
            with self._database.snapshot() as snapshot:
                keys = list(snapshot.keys(start, stop))
            if keys:
                self._database.write([(key, None) for key in keys], sync=True)
                self._database.give_back(start, stop)
                gone += sum(block.place_of(key).rows for key in keys)
        return gone

    # ---- read ------------------------------------------------------------------------------------------------------
    @contextmanager
    def view(self) -> Iterator[View]:
        """The table as it is now. Raises LevelDbError, here and from the view."""
        with self._database.snapshot() as snapshot:
            yield View(snapshot, self.texts)

    def size(self) -> Size:
        """Without reading any rows."""
        with self._database.snapshot() as snapshot:
            places = list(_places(snapshot))
        days = [place.day for place in places]
        rows = sum(place.rows for place in places) + self.fresh_rows
        return Size(rows, len(places) + len(self._fresh), min(days, default=None), max(days, default=None))

    def close(self) -> None:
        """What reads meanwhile fails."""
        self._database.close()


class View:
    """A table at one moment, read bucket by bucket."""

    def __init__(self, snapshot: Snapshot, texts: bool) -> None:
        self._snapshot = snapshot
        self._texts = texts
        self._fresh: dict[int, Rows] | None = None

    def bucket(self, bucket: int, from_ms: int | None = None, to_ms: int | None = None) -> Rows:
        """All rows of the users of one bucket, in order, of times in [from_ms, to_ms)."""
        if self._fresh is None:
            self._fresh = self._read_fresh()
        start = block.first_of(bucket, None if from_ms is None else from_ms // DAY_MS)
        stop = block.behind(bucket) if to_ms is None else block.first_of(bucket, (to_ms - 1) // DAY_MS + 1)
        stored = sorted(self._snapshot.scan(start, stop), key=lambda item: block.place_of(item[0]).number)
        parts = [block.decode(value, texts=self._texts) for _, value in stored]
        if bucket in self._fresh:
            parts.append(self._fresh[bucket])
        rows = join(parts) if parts else block.empty(texts=self._texts)
        return ordered(_between(rows, from_ms, to_ms))

    def _read_fresh(self) -> dict[int, Rows]:
        stored = self._snapshot.scan(block.FRESH, block.AFTER_FRESH)
        parts = [block.decode(value, texts=self._texts) for _, value in stored]
        if not parts:
            return {}
        rows = join(parts)
        return dict(_groups(rows, buckets_of(rows.users).astype(np.int8)))


def _between(rows: Rows, from_ms: int | None, to_ms: int | None) -> Rows:
    if from_ms is None and to_ms is None:
        return rows
    wanted = np.ones(len(rows), bool)
    if from_ms is not None:
        wanted &= rows.times >= from_ms
    if to_ms is not None:
        wanted &= rows.times < to_ms
    return rows if wanted.all() else rows.take(wanted)


def _places(snapshot: Snapshot) -> Iterator[Place]:
    for bucket in range(BUCKETS):
        yield from map(block.place_of, snapshot.keys(block.first_of(bucket), block.behind(bucket)))


def _cut(rows: Rows) -> Iterator[tuple[int, int, Rows]]:
    """(bucket, day, its rows in order), as they stand in the keys."""
    rows = ordered(rows, rows.times // DAY_MS, buckets_of(rows.users).astype(np.int8))
    buckets, days = buckets_of(rows.users), rows.times // DAY_MS
    starts = np.flatnonzero((np.diff(buckets, prepend=-1) != 0) | (np.diff(days, prepend=days[0]) != 0))
    for start, stop in pairwise([*starts.tolist(), len(rows)]):
        yield int(buckets[start]), int(days[start]), rows.take(slice(start, stop))


def _groups(rows: Rows, numbers: NDArray[Any]) -> Iterator[tuple[int, Rows]]:
    """(number, the rows that have it), in order."""
    first = int(numbers.min())
    if first == numbers.max():
        yield first, rows
        return
    order = np.argsort(numbers, kind="stable")
    sorted_numbers = numbers[order]
    starts = np.flatnonzero(np.diff(sorted_numbers)) + 1
    found = sorted_numbers[np.append(0, starts)].tolist()
    for number, chosen in zip(found, np.split(order, starts), strict=True):
        yield number, rows.take(chosen)

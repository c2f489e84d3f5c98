"""The state: cursors with what belongs to them, in gathered synced batches; all who wait are told of a failure."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import plyvel
import pytest

from dpiped.errors import DpipeError
from dpiped.journal.state import MemoryDatabase, RunnerKey, Saved, State
from dpiped.leveldb import Items, LevelDb, LevelDbError
from dpiped.testing import until

A, B = RunnerKey("output", "a", "file"), RunnerKey("filter", "b", "aggregate")


class Flaky(MemoryDatabase):
    """Counts its writes, and holds or fails them when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def write(self, items: Items, *, sync: bool) -> None:
        assert self.go.wait(10)
        assert sync
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        items = list(items)
        self.batches.append(len(items))
        super().write(items, sync=sync)


def opened(database: MemoryDatabase | LevelDb) -> State:
    state = State(database)
    state.open()
    return state


async def test_what_waits_goes_in_one_batch() -> None:
    database = Flaky()
    state = opened(database)
    database.go.clear()
    first = asyncio.create_task(state.save(A, Saved(1)))
    await until(lambda: state._flushing is not None and not state._queue)
    more = [asyncio.create_task(state.save(key, Saved(n), [(b"k", b"v")])) for n, key in ((2, A), (3, B), (4, A))]
    await until(lambda: len(state._queue) == 3)
    assert state.synced == {}
    database.go.set()
    await asyncio.gather(first, *more)
    assert database.batches == [
        2,
        1,
        6,
    ]  # the version and the mark of a new one, the first, the gathered three with their items
    assert (state.synced[A].cursor, state.synced[B].cursor) == (4, 3)
    await state.close()


@pytest.mark.parametrize("error", [LevelDbError("disk full"), RuntimeError("Database is closed")])
async def test_all_who_wait_learn_of_a_failure_and_the_next_write_works(error: Exception) -> None:
    database = Flaky()
    state = opened(database)
    database.error = error
    with pytest.raises(type(error)):
        await state.save(A, Saved(5), [(b"k", b"v")])
    assert A not in state.synced
    assert state.snapshot(A) == []
    await state.save(A, Saved(5), [(b"k", b"v")])
    assert state.synced[A].cursor == 5
    assert state.snapshot(A) == [(b"k", b"v")]
    await state.close()


async def test_everything_is_there_after_a_reopening(tmp_path: Path) -> None:
    state = opened(LevelDb(tmp_path))
    assert state.incomplete
    saved = Saved(7, 2, "print", b"plug", (7, 9), 0, "epoch")
    await state.save(A, saved, [(b"x", b"1"), (b"y", b"2")])
    await state.save(A, saved, [(b"x", None), (b"z", b"3")])
    await state.save(B, Saved(11))
    await state.complete()
    await state.close()
    again = opened(LevelDb(tmp_path))
    assert not again.incomplete
    found = again.synced[A]
    assert (found.cursor, found.generation, found.fingerprint, found.plugin, found.batch, found.batch_epoch) == (
        7,
        2,
        "print",
        b"plug",
        (7, 9),
        "epoch",
    )
    assert again.snapshot(A) == [(b"y", b"2"), (b"z", b"3")]
    assert again.snapshot(B) == []
    assert again.highest == 11
    await again.forget_snapshot(A)
    assert (again.snapshot(A), again.synced[A].cursor) == ([], 7)
    await again.forget(A)
    assert A not in again.synced
    await again.close()
    last = opened(LevelDb(tmp_path))
    assert set(last.synced) == {B}
    await last.close()


def test_boundaries_count_for_the_highest_offset() -> None:
    state = State(MemoryDatabase())
    state.synced = {A: Saved(5, batch=(5, 90)), B: Saved(20)}
    assert state.highest == 90


def test_another_layout_is_refused() -> None:
    database = MemoryDatabase()
    database.write([(b"v", b"99")], sync=True)
    with pytest.raises(DpipeError, match="layout"):
        State(database).open()


class Torn:
    """Stands for a plyvel database whose next batch fails."""

    def __init__(self, real: plyvel.DB) -> None:
        self.real = real

    def write_batch(self, **options: object) -> object:
        raise plyvel.IOError("No space left on device")

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


def test_leveldb_is_opened_anew_after_a_failed_write(tmp_path: Path) -> None:
    database = LevelDb(tmp_path)
    database.write([(b"a", b"1")], sync=True)
    for use in ("write", "get", "scan"):
        torn = database._db = Torn(database._db)  # type: ignore[assignment]
        with pytest.raises(LevelDbError, match="No space"):
            database.write([(b"b", b"2")], sync=True)
        assert torn.real.closed
        if use == "write":
            database.write([(b"c", b"3")], sync=True)
        assert database.get(b"a") == b"1" if use == "get" else list(database.scan(b"a")) == [(b"a", b"1")]
        assert database.get(b"b") is None
    database.close()
    with pytest.raises(RuntimeError):
        database.get(b"a")  # closed for good stays closed

"""Readers: the window and the segments give the same packs, each once; pools are empty when all have passed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dpiped.journal.reader import Reader
from dpiped.journal.record import Frame
from dpiped.pack import Pack, Route
from dpiped.testing import until
from dpiped.testing.parts import Parts, parts


def body(number: int, size: int = 20) -> bytes:
    return b'{"@timestamp":%d,"x":"%s"}\n' % (number, b"x" * size)


def reader_of(
    world: Parts, name: str = "r", cursor: int = 0, wants: Callable[[Route], bool] = lambda route: True
) -> Reader:
    reader = Reader(world.journal, name, wants, cursor)
    world.around.router.add(reader, ())
    return reader


async def drain(reader: Reader, most_bytes: int = 1 << 20, most_packs: int = 100) -> list[int]:
    found: list[int] = []
    while packs := await reader.pull(most_bytes, most_packs):
        for pack in packs:
            assert pack.body.startswith(b'{"@timestamp":%d,' % pack.head.offset)
            found.append(pack.head.offset)
            reader.passed(pack)
    return found


@pytest.mark.parametrize("cache_bytes", [1, 3_000, 1 << 20])
async def test_window_and_segments_give_the_same(tmp_path: Path, cache_bytes: int) -> None:
    async with parts(tmp_path, cache_bytes=cache_bytes, segment_bytes=2_000) as world:
        late = reader_of(world, "late")
        for n in range(40):
            await world.append(body(n), ident="even" if n % 2 == 0 else "odd")
        odd = reader_of(world, "odd", 0, lambda route: route.ident == "odd")
        assert await drain(late) == list(range(40))
        assert await drain(odd) == list(range(1, 40, 2))
        assert (late.behind, odd.behind) == (False, False)
        assert (late.cursor, odd.cursor) == (40, 40)
        assert (world.journal.pool.in_use, world.journal.pool.bytes) == (0, 0)


@pytest.mark.parametrize("cache_bytes", [1, 1 << 20])
async def test_limits_hold_for_both_roads(tmp_path: Path, cache_bytes: int) -> None:
    async with parts(tmp_path, cache_bytes=cache_bytes) as world:
        reader = reader_of(world)
        await world.append(*(body(n, 2_000) for n in range(12)))
        assert len(await reader.pull(1 << 20, 1)) == 1
        assert len(await reader.pull(1 << 20, 3)) == 3
        assert len(await reader.pull(5_000, 100)) == 3, "a batch ends with the pack that reaches max_bytes"
        reader.rewind(0)
        assert await drain(reader, 1, 1) == list(range(12))


async def test_rewind_gives_all_again(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        reader = reader_of(world)
        await world.append(*(body(n) for n in range(6)))
        packs = await reader.pull(1 << 20, 4)
        reader.passed(packs[0])
        assert reader.cursor == 1
        reader.rewind(0)
        assert reader.cursor == 0
        assert await drain(reader) == list(range(6))
        assert world.journal.pool.in_use == 0


async def test_the_cursor_is_the_oldest_pack_in_hand(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        reader = reader_of(world)
        await world.append(*(body(n) for n in range(3)))
        packs = await reader.pull(1 << 20, 10)
        assert reader.cursor == 0
        for number, pack in enumerate(packs, 1):
            reader.passed(pack)
            assert reader.cursor == number
        await world.append(body(3), ident="other")
        assert reader.cursor == 3


async def test_what_is_synced_but_not_announced_is_not_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lagging reader reads the segments while the writer has just synced a group that nobody was told of."""
    async with parts(tmp_path, cache_bytes=1) as world:
        reader, storage = reader_of(world), world.journal.storage
        await world.append(body(0))
        reading, go = threading.Event(), threading.Event()
        read = storage.read

        def slow_read(offset: int, wanted: Callable[[Route], bool], most: int) -> tuple[list[Frame], int]:
            reading.set()
            assert go.wait(10)
            return read(offset, wanted, most)

        monkeypatch.setattr(storage, "read", slow_read)
        pulled = asyncio.create_task(reader.pull(1 << 20, 100))
        await until(reading.is_set)
        publish = world.journal._publish
        held: list[Callable[[], None]] = []
        monkeypatch.setattr(world.journal, "_publish", lambda *what: held.append(lambda: publish(*what)))
        append = asyncio.create_task(world.append(body(1)))
        await until(lambda: bool(held))
        go.set()
        packs: list[Pack] = await pulled
        offsets = [pack.head.offset for pack in packs]
        held[0]()
        await append
        for pack in packs:
            reader.passed(pack)
        assert offsets + await drain(reader) == [0, 1]


async def test_nobody_can_be_called_as_the_cache_is(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        reader, slow = reader_of(world, "cache"), reader_of(world, "slow")
        await world.append(*(body(n) for n in range(3)))
        assert await drain(reader) == [0, 1, 2]
        assert await drain(slow) == [0, 1, 2]
        assert world.journal.pool.in_use == 0


async def test_many_laggards_read_while_room_is_given_back(tmp_path: Path) -> None:
    """Segments are rewritten and their indexes forgotten under the readers, and none misses a pack."""
    async with parts(tmp_path, cache_bytes=1, segment_bytes=1_500) as world:
        for n in range(150):
            await world.append(body(n), ident="rare" if n % 10 == 0 else "app")
        readers = [reader_of(world, f"r{n}", 0, lambda route: route.ident == "rare") for n in range(6)]

        async def slowly(reader: Reader) -> list[int]:
            found = []
            while packs := await reader.pull(1, 1):
                found += [pack.head.offset for pack in packs]
                for pack in packs:
                    reader.passed(pack)
            return found

        async def free() -> None:
            for low in range(0, 150, 3):
                await world.journal.free(
                    lambda route, first, last, low=low: route.ident == "rare" or last >= low,  # type: ignore[misc]
                    world.journal.next,
                )

        *found, _ = await asyncio.gather(*map(slowly, readers), free())
        assert found == [list(range(0, 150, 10))] * 6

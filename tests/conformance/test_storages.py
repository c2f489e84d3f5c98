"""One behaviour for both storages of the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dpiped.journal.base import Storage
from dpiped.journal.disk import DiskStorage
from dpiped.journal.memory import MemoryStorage
from dpiped.journal.record import Frame, Marks
from dpiped.pack import Head, Route

MAKE: dict[str, Callable[[Path], Storage]] = {
    "memory": lambda folder: MemoryStorage(),
    "disk": lambda folder: DiskStorage(folder, 500),
}


def frame(offset: int, ident: str = "app") -> Frame:
    body = b"x" * 60
    return Frame(Head(epoch="e", offset=offset, project="rs", ident=ident, count=1, raw_bytes=60), body)


def all_of(storage: Storage, offset: int = 0, ident: str = "", most: int = 1 << 20) -> list[int]:
    found: list[int] = []
    while offset < storage.next:
        frames, offset = storage.read(offset, lambda route: not ident or route.ident == ident, most)
        found += [one.head.offset for one in frames]
    return found


def any_route(route: Route) -> bool:
    return True


@pytest.fixture(params=sorted(MAKE))
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    made = MAKE[request.param](tmp_path)
    recovered = made.open()
    assert (recovered.lost, list(recovered.damage), recovered.marks.next) == (0, [], 0)
    return made


def fill(storage: Storage, amount: int) -> None:
    for offset in range(amount):
        storage.append([frame(offset, "even" if offset % 2 == 0 else "odd")], lambda: Marks(0, {}, {}, {}))


def test_an_empty_one(storage: Storage) -> None:
    assert (storage.next, storage.first(), storage.used_bytes) == (0, 0, 0)
    assert storage.read(0, any_route, 100) == ([], 0)
    assert storage.free(lambda route, first, last: False, 0) == 0
    storage.close()


def test_order_limits_and_starts(storage: Storage) -> None:
    fill(storage, 40)
    assert storage.next == 40
    assert all_of(storage) == list(range(40))
    for start in range(0, 41, 7):
        assert all_of(storage, start, "odd", 1) == [n for n in range(start, 40) if n % 2]
    frames, at = storage.read(3, any_route, 1)
    assert [one.head.offset for one in frames] == [3]
    assert at == 4
    assert frames[0] == frame(3, "odd")
    storage.close()


def test_what_is_wanted_stays(storage: Storage) -> None:
    fill(storage, 40)
    used = storage.used_bytes
    storage.free(lambda route, first, last: route.ident == "odd" and last >= 31, 40)
    assert storage.used_bytes < used
    assert all_of(storage, 31, "odd") == list(range(31, 40, 2))
    assert storage.next == 40
    storage.append([frame(40)], lambda: Marks(0, {}, {}, {}))
    assert all_of(storage, 39) == [39, 40]
    storage.close()


def test_nothing_above_the_limit_is_given_back(storage: Storage) -> None:
    fill(storage, 40)
    storage.free(lambda route, first, last: False, 20)
    assert all_of(storage, 20) == list(range(20, 40))
    storage.close()

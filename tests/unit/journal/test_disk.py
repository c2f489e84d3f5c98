"""Segment files: groups count whole or not at all, torn tails are cut, room is given back, nothing is misread."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dpiped.journal.base import Wanted
from dpiped.journal.disk import DiskStorage
from dpiped.journal.record import Frame, Marks
from dpiped.pack import Head, Route

EPOCH = "00000000abcdef00"


def frames(first: int, amount: int, ident: str = "app", size: int = 50, **more: object) -> list[Frame]:
    return [
        Frame(
            Head(epoch=EPOCH, offset=first + n, project="rs", ident=ident, count=1, raw_bytes=size, **more),  # type: ignore[arg-type]
            bytes([65 + (first + n) % 26]) * size,
        )
        for n in range(amount)
    ]


def no_marks() -> Marks:
    return Marks(0, {}, {}, {})


def opened(folder: Path, segment_bytes: int = 64 << 20) -> DiskStorage:
    storage = DiskStorage(folder, segment_bytes)
    storage.open()
    return storage


def all_of(storage: DiskStorage) -> list[Frame]:
    found, offset = [], 0
    while offset < storage.next:
        some, offset = storage.read(offset, lambda route: True, 1 << 20)
        found += some
    return found


def only(*routes_from: tuple[str, int]) -> Wanted:
    """Wanted: packs of an ident from an offset on."""
    return lambda route, first, last: any(route.ident == ident and last >= offset for ident, offset in routes_from)


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.append(frames(0, 3), no_marks)
    storage.append(frames(3, 2), no_marks)
    assert all_of(storage) == frames(0, 5)
    storage.close()
    again = opened(tmp_path)
    assert again.next == 5
    assert all_of(again) == frames(0, 5)
    again.append(frames(5, 1), no_marks)
    assert all_of(again) == frames(0, 6)


def test_a_tail_torn_anywhere_costs_only_the_last_group(tmp_path: Path) -> None:
    storage = opened(tmp_path / "whole")
    storage.append(frames(0, 2), no_marks)
    good = storage.used_bytes
    storage.append(frames(2, 3), no_marks)
    size = storage.used_bytes
    storage.close()
    for cut in range(good, size, 5):
        copy = tmp_path / f"cut{cut}"
        shutil.copytree(tmp_path / "whole", copy)
        file = next(copy.glob("*.seg"))
        with file.open("r+b") as handle:
            handle.truncate(cut)
        torn = opened(copy)
        assert all_of(torn) == frames(0, 2), cut
        assert torn.next == 2
        torn.append(frames(2, 1), no_marks)
        torn.close()
        assert all_of(opened(copy)) == frames(0, 3)


def test_a_hole_in_the_last_group_drops_it_whole(tmp_path: Path) -> None:
    storage = opened(tmp_path / "whole")
    storage.append(frames(0, 2), no_marks)
    good = storage.used_bytes
    storage.append(frames(2, 3), no_marks)
    size = storage.used_bytes
    storage.close()
    for at in range(good, size, 11):
        copy = tmp_path / f"hole{at}"
        shutil.copytree(tmp_path / "whole", copy)
        file = next(copy.glob("*.seg"))
        data = bytearray(file.read_bytes())
        data[at] ^= 0xFF
        file.write_bytes(data)
        assert all_of(opened(copy)) == frames(0, 2), at


def test_damage_before_the_last_group_costs_single_records(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    for n in range(5):
        storage.append(frames(n, 1), no_marks)
    storage.close()
    file = next(tmp_path.glob("*.seg"))
    data = bytearray(file.read_bytes())
    at = data.index(b"C" * 50)  # the body of offset 2
    data[at] ^= 0xFF
    file.write_bytes(data)
    found = [frame.head.offset for frame in all_of(opened(tmp_path))]
    assert found == [0, 1, 3, 4]


def test_a_damaged_prefix_is_passed_over_and_said(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    for n in range(5):
        storage.append(frames(n, 1), no_marks)
    storage.close()
    file = next(tmp_path.glob("*.seg"))
    data = bytearray(file.read_bytes())
    body = data.index(b"C" * 50)
    prefix = data.rindex(b"dP\x01P", 0, body)
    data[prefix + 5] ^= 0xFF
    file.write_bytes(data)
    storage = DiskStorage(tmp_path)
    recovered = storage.open()
    assert recovered.lost == 1
    assert recovered.damage
    assert [frame.head.offset for frame in all_of(storage)] == [0, 1, 3, 4]


def test_marks_tell_what_freed_heads_told(tmp_path: Path) -> None:
    storage = opened(tmp_path, segment_bytes=400)
    marks = Marks(0, {}, {}, {})

    def current() -> Marks:
        return marks

    for n in range(12):
        some = frames(n, 1, stream="s", seq=n, nonce="x", position=("tail", str(n)), cause=("f", n))
        storage.append(some, current)
        marks = Marks(n + 1, {"s": (n, "x", 0)}, {"tail": str(n)}, {"f": n})
    assert len(list(tmp_path.glob("*.seg"))) > 3
    storage.free(lambda route, first, last: False, storage.next)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    storage.close()
    found = DiskStorage(tmp_path).open().marks
    assert found.streams["s"][:2] == (11, "x")
    assert (found.positions, found.emitted) == ({"tail": "11"}, {"f": 11})


def test_only_what_nobody_wants_is_freed(tmp_path: Path) -> None:
    storage = opened(tmp_path, segment_bytes=2000)
    for n in range(0, 60, 2):
        storage.append([*frames(n, 1, "rare" if n % 20 == 0 else "app"), *frames(n + 1, 1)], no_marks)
    before = storage.used_bytes
    storage.free(only(("rare", 0)), storage.next)
    assert storage.used_bytes < before / 2
    kept = {frame.head.offset for frame in all_of(storage) if frame.head.ident == "rare"}
    assert kept == {0, 20, 40}
    storage.close()
    again = DiskStorage(tmp_path, 2000)
    assert again.open().lost == 0  # what was dropped is named
    assert {frame.head.offset for frame in all_of(again) if frame.head.ident == "rare"} == {0, 20, 40}
    assert again.next == 60


def test_the_last_segment_with_packs_stays(tmp_path: Path) -> None:
    storage = opened(tmp_path, segment_bytes=200)
    for n in range(6):
        storage.append(frames(n, 1), no_marks)
    storage.free(lambda route, first, last: False, storage.next)
    storage.close()
    assert opened(tmp_path).next == 6


def test_a_failed_group_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened(tmp_path)
    storage.append(frames(0, 2), no_marks)

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("dpiped.journal.disk.os.fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            storage.append(frames(2, 2), no_marks)
    storage.cut()
    assert storage.next == 2
    storage.append(frames(2, 1, "other"), no_marks)
    storage.close()
    assert all_of(opened(tmp_path)) == [*frames(0, 2), *frames(2, 1, "other")]


def test_reading_starts_anywhere_and_takes_only_what_is_wanted(tmp_path: Path) -> None:
    storage = opened(tmp_path, segment_bytes=500)
    for n in range(30):
        storage.append(frames(n, 1, "even" if n % 2 == 0 else "odd"), no_marks)
    for start in range(31):
        found, offset = [], start
        while offset < storage.next:
            some, offset = storage.read(offset, lambda route: route.ident == "odd", 120)
            found += [frame.head.offset for frame in some]
        assert found == [n for n in range(start, 30) if n % 2]


def test_a_missing_segment_is_counted_as_loss(tmp_path: Path) -> None:
    storage = opened(tmp_path, segment_bytes=300)
    for n in range(12):
        storage.append(frames(n, 1), no_marks)
    storage.close()
    files = sorted(tmp_path.glob("*.seg"))
    files[1].unlink()
    again = DiskStorage(tmp_path, 300)
    recovered = again.open()
    assert recovered.lost == int(files[2].stem) - int(files[1].stem)
    assert again.next == 12


def test_route_tells_emissions_apart() -> None:
    head = Head(project="rs", ident="app")
    assert Route.of(head) != Route.of(Head(project="rs", ident="app", cause=("f", 1)))


def test_damage_found_while_reading_is_said_once(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    for n in range(4):
        storage.append(frames(n, 1), no_marks)
    storage.close()
    file = next(tmp_path.glob("*.seg"))
    data = bytearray(file.read_bytes())
    data[data.index(b"B" * 50)] ^= 0xFF
    file.write_bytes(data)
    storage = opened(tmp_path)
    said: list[str] = []
    storage.on_damage = said.append
    for _ in range(2):
        assert [frame.head.offset for frame in all_of(storage)] == [0, 2, 3]
    assert len(said) == 1
    assert "pack 1" in said[0]


class Meeting(set[tuple[Path, int]]):
    """Whoever looks waits for another one who looks."""

    both = threading.Barrier(2)

    def __contains__(self, item: object) -> bool:
        found = super().__contains__(item)
        with suppress(threading.BrokenBarrierError):
            self.both.wait(0.3)
        return found


def test_damage_that_two_readers_find_at_once_is_said_once(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.append(frames(0, 3), no_marks)
    file = next(tmp_path.glob("*.seg"))
    data = bytearray(file.read_bytes())
    data[data.index(b"B" * 50)] ^= 0xFF
    file.write_bytes(data)
    said: list[str] = []
    storage.on_damage = said.append
    storage._damaged = Meeting()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: all_of(storage), range(2)))
    assert len(said) == 1


def test_a_flipped_bit_in_an_offset_moves_nothing(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    for n in range(300, 304):
        storage.append(frames(n, 1), no_marks)
    storage.close()
    file = next(tmp_path.glob("*.seg"))
    data = bytearray(file.read_bytes())
    at = data.index((301).to_bytes(2, "big"))
    data[at] ^= 0x40
    file.write_bytes(data)
    again = DiskStorage(tmp_path)
    assert again.open().damage
    assert again.next == 304
    assert [frame.head.offset for frame in all_of(again)] == [300, 302, 303]


def test_a_rewrite_that_fails_leaves_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = opened(tmp_path, segment_bytes=2000)
    for n in range(0, 60, 2):
        storage.append([*frames(n, 1, "rare" if n % 20 == 0 else "app"), *frames(n + 1, 1)], no_marks)
    before = [frame.head.offset for frame in all_of(storage)]

    def full(fd: int, pieces: list[bytes]) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dpiped.files.write_all", full)
        with pytest.raises(OSError, match="No space"):
            storage.free(only(("rare", 0)), storage.next)
    assert [frame.head.offset for frame in all_of(storage)] == before
    assert not list(tmp_path.glob("*.tmp"))
    storage.free(only(("rare", 0)), storage.next)
    assert {frame.head.offset for frame in all_of(storage) if frame.head.ident == "rare"} == {0, 20, 40}


def test_a_segment_that_somebody_deleted_does_not_hold_readers(tmp_path: Path) -> None:
    storage = opened(tmp_path, segment_bytes=300)
    for n in range(12):
        storage.append(frames(n, 1), no_marks)
    for segment in storage._segments:
        segment.forget_positions()
    files = sorted(tmp_path.glob("*.seg"))
    files[1].unlink()
    gone = set(range(int(files[1].stem), int(files[2].stem)))
    assert {frame.head.offset for frame in all_of(storage)} == set(range(12)) - gone

"""What stands in the folder of a journal: foreign files, copies, empty ones, other versions, sectors that cannot be
read."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from dpiped.journal import file_view
from dpiped.journal.base import Recovered
from dpiped.journal.disk import STRICT_TRIES, DiskStorage
from dpiped.journal.record import Frame, Marks, NewerFormatError
from dpiped.pack import Head
from dpiped.quarantine import Quarantine
from dpiped.telemetry import Telemetry

PACKS = 12


def frame(offset: int, **more: object) -> Frame:
    fields = {"epoch": "e", "offset": offset, "ident": "app", "count": 1, "raw_bytes": 50, **more}
    return Frame(Head(**fields), bytes([65 + offset % 26]) * 50)  # type: ignore[arg-type]


def no_marks() -> Marks:
    return Marks(0, {}, {}, {})


class House:
    """A data_dir with a journal of a few segments, closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.journal = self.folder / "journal"
        self.telemetry = Telemetry()
        self.folder.mkdir()
        storage, _ = self.open()
        for offset in range(PACKS):
            storage.append([frame(offset)], no_marks)
        storage.close()
        self.files = sorted(self.journal.glob("*.seg"))
        assert len(self.files) > 3

    def open(self) -> tuple[DiskStorage, Recovered]:
        storage = DiskStorage(self.journal, 300, Quarantine(self.folder, self.telemetry))
        return storage, storage.open()

    def offsets(self) -> list[int]:
        """What is delivered after an opening; twice the same, and new packs find their place."""
        storage, _ = self.open()
        first = read(storage)
        storage.append([frame(storage.next)], no_marks)
        storage.close()
        again, _ = self.open()
        assert read(again)[:-1] == first
        again.close()
        return first

    def kept(self) -> list[str]:
        folder = self.folder / "quarantine"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def read(storage: DiskStorage, most_bytes: int = 1 << 20) -> list[int]:
    found: list[int] = []
    offset = 0
    while offset < storage.next:
        frames, offset = storage.read(offset, lambda route: True, most_bytes)
        found += [one.head.offset for one in frames]
        assert all(one == frame(one.head.offset) for one in frames)
    return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def junk(path: Path) -> None:
    path.write_bytes(b"not a segment\n" * 20)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("notes.txt", junk),
        ("00000000000000000003.seg.bak", junk),
        ("3.seg", junk),
        ("00000000000000000000-copy.seg", junk),
        ("00000000000000000001.seg", junk),
        ("00000000000000009999.seg", junk),
        ("folder.seg", Path.mkdir),
    ],
)
def test_foreign_files_are_moved_aside_and_told(house: House, name: str, make: Callable[[Path], None]) -> None:
    make(house.journal / name)
    assert house.offsets() == list(range(PACKS))
    assert [one.partition("-")[2] for one in house.kept()] == [f"journal-{name}"]
    assert house.telemetry.metrics.registry.get_sample_value("dpipe_quarantined_files_total", {"place": "journal"}) == 1
    assert any(name in line for line in house.telemetry.losses)


@pytest.mark.parametrize("name", ["00000000000000000001.seg", "00000000000000009999.seg"])
def test_a_copy_of_a_segment_delivers_nothing_twice(house: House, name: str) -> None:
    for number, file in enumerate(house.files):
        shutil.copy(file, house.journal / name)
        assert house.offsets()[:PACKS] == list(range(PACKS)), file.name
        assert len(house.kept()) == number + 1


def test_a_segment_that_was_renamed_gets_its_name_back(house: House) -> None:
    house.files[1].rename(house.journal / "00000000000000009999.seg")
    assert house.offsets() == list(range(PACKS))
    assert sorted(house.journal.glob("*.seg"))[: len(house.files)] == house.files
    assert house.kept() == []


def test_a_segment_written_twice_into_one_file_is_read_once(house: House) -> None:
    data = house.files[1].read_bytes()
    house.files[1].write_bytes(data + data)
    assert house.offsets() == list(range(PACKS))


@pytest.mark.parametrize("name", ["00000000000000000001.seg", "00000000000000000012.seg", "00000000000000009999.seg"])
def test_empty_files_are_nothing(house: House, name: str) -> None:
    (house.journal / name).write_bytes(b"")
    assert house.offsets() == list(range(PACKS))
    assert house.kept() == []
    assert not (house.journal / name).exists() or name.endswith("12.seg")  # that one was made anew


def test_of_two_files_with_the_same_packs_one_is_read(house: House) -> None:
    other = DiskStorage(house.folder / "other")
    other.open()
    other.next = int(house.files[1].stem) - 1
    other.append([frame(other.next), frame(other.next + 1)], no_marks)
    other.close()
    foreign = next((house.folder / "other").glob("*.seg"))
    foreign.rename(house.journal / foreign.name)
    (house.folder / "other").rmdir()
    found = house.offsets()
    assert len(found) == len(set(found))
    assert len(house.kept()) >= 1


def test_a_flipped_ident_is_found_at_the_start(house: House) -> None:
    """Its route is one that nobody wants: nobody would read the pack, and find it damaged."""
    data = bytearray(house.files[1].read_bytes())
    data[data.index(b"app", data.index(b"dP\x01P", 30) + 1)] ^= 2
    house.files[1].write_bytes(data)
    _, found = house.open()
    assert found.damage


def newer_prefix(data: bytes) -> bytes:
    prefix = b"dP\x02" + data[3:12]
    return prefix + struct.pack("<I", crc32(prefix)) + data[16:]


@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_newer_version_is_refused_and_left_alone(house: House, number: int) -> None:
    file = house.files[number]
    file.write_bytes(newer_prefix(file.read_bytes()))
    before = {path: path.read_bytes() for path in house.journal.iterdir()}
    with pytest.raises(NewerFormatError, match=r"version 2.*start the newer one"):
        house.open()
    assert {path: path.read_bytes() for path in house.journal.iterdir()} == before


def test_packs_of_a_newer_version_are_refused(house: House) -> None:
    storage, _ = house.open()
    storage.append([frame(PACKS, version=2)], no_marks)
    storage.close()
    with pytest.raises(NewerFormatError, match="packs of version 2"):
        house.open()


def test_a_damaged_last_group_is_counted_and_a_torn_one_is_not(house: House) -> None:
    whole = house.files[-1].read_bytes()
    house.files[-1].write_bytes(whole[:-3])
    _, found = house.open()
    assert (found.lost, found.damage) == (0, [])
    house.files[-1].write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    storage, found = house.open()
    assert found.lost == 1
    assert storage.next == PACKS  # its offset may have been seen by somebody
    assert len(house.kept()) == 1


def test_a_damaged_commit_costs_nothing_but_its_own_group(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    storage.open()
    for offset in range(4):
        storage.append([frame(offset)], no_marks)
    storage.close()
    file = next(tmp_path.glob("*.seg"))
    data = bytearray(file.read_bytes())
    commits = [at for at in range(len(data)) if data[at : at + 4] == b"dP\x01C"]
    for at in commits[:-1]:
        damaged = data.copy()
        damaged[at + 5] ^= 4
        file.write_bytes(damaged)
        again = DiskStorage(tmp_path)
        again.open()
        assert read(again) == [0, 1, 2, 3]
        again.close()


@pytest.mark.parametrize("indexed", [False, True])
def test_sectors_that_cannot_be_read_are_passed_over_and_counted(
    indexed: bool, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By mmap each of them would end the process."""
    real, bad = os.pread, house.files[1]

    def pread(fd: int, length: int, at: int) -> bytes:
        if Path(f"/proc/self/fd/{fd}").readlink() == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, length, at)

    first, after = int(bad.stem), int(house.files[2].stem)
    storage, _ = house.open()  # it was readable at the start
    if indexed:
        read(storage)
    said: list[str] = []
    storage.on_damage = said.append
    monkeypatch.setattr(file_view.os, "pread", pread)
    assert read(storage) == [n for n in range(PACKS) if not first <= n < after]
    assert said
    with pytest.raises(OSError, match=r"Input/output|nothing is left"):  # what cannot be read now is not dropped
        storage._rewrite(storage._segments[1], lambda route, low, high: True)
    monkeypatch.undo()
    assert read(storage) == list(range(PACKS))
    storage.close()


def test_a_segment_that_cannot_be_read_at_the_start_is_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real, bad = os.pread, house.files[1]

    def pread(fd: int, length: int, at: int) -> bytes:
        if Path(f"/proc/self/fd/{fd}").readlink() == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, length, at)

    monkeypatch.setattr(file_view.os, "pread", pread)
    monkeypatch.setattr("dpiped.journal.disk.STRICT_TRIES", 0)
    storage, found = house.open()
    first, after = int(bad.stem), int(house.files[2].stem)
    assert read(storage) == [n for n in range(PACKS) if not first <= n < after]
    assert found.lost == after - first


def test_a_last_group_that_cannot_be_read_is_given_up_at_last(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real, bad = os.pread, house.files[-1]

    def pread(fd: int, length: int, at: int) -> bytes:
        if Path(f"/proc/self/fd/{fd}").readlink() == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, length, at)

    storage, _ = house.open()
    storage.close()
    monkeypatch.setattr(file_view.os, "pread", pread)
    storage = DiskStorage(house.journal, 300, Quarantine(house.folder, house.telemetry))
    for _ in range(STRICT_TRIES):
        with pytest.raises(OSError, match="Input/output"):
            storage.open()
    storage.open()
    assert read(storage) == list(range(int(bad.stem)))
    assert [name.partition("-")[2] for name in house.kept()] == [f"journal-{bad.name}"]


def test_damaged_marks_are_not_believed(house: House) -> None:
    storage, _ = house.open()
    marks = Marks(PACKS, {"s": (7, "nonce-of-seven", 1)}, {}, {})
    storage._good = 1 << 30  # the next one begins a segment
    storage.append([frame(PACKS)], lambda: marks)
    storage.append([frame(PACKS + 1)], no_marks)
    storage.close()
    file = max(house.journal.glob("*.seg"))
    assert house.open()[1].marks.streams == marks.streams
    data = bytearray(file.read_bytes())
    data[data.index(b"nonce-of-seven")] ^= 1
    file.write_bytes(data)
    _, found = house.open()
    assert "s" not in found.marks.streams
    assert any("wrong checksum" in line for line in found.damage)


def test_what_is_gone_is_counted(house: House) -> None:
    storage, _ = house.open()
    assert storage.gone(0) == 0
    storage.free(lambda route, first, last: False, storage.next)
    left = read(storage)
    assert storage.gone(0) == PACKS - len(left)
    assert storage.gone(3) == PACKS - len(left) - 3
    assert storage.gone(storage.next) == 0
    storage.close()

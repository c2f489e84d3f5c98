"""Damaged databases: repaired or begun anew, never taken for whole, never a wrong value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import plyvel
import pytest

from dpiped.errors import DpipeError
from dpiped.leveldb import FORMAT_KEY, LevelDb, LevelDbDamagedError, LevelDbError
from dpiped.leveldb_log import hides_records
from dpiped.quarantine import Quarantine
from dpiped.telemetry import Telemetry

ITEMS = [(b"key %d" % n, b"value %d " % n + b"x" * 100) for n in range(50)]


def opened(folder: Path, telemetry: Telemetry | None = None) -> LevelDb:
    return LevelDb(folder / "state", quarantine=Quarantine(folder, telemetry or Telemetry()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    database = opened(tmp_path)
    database.settle()
    for item in ITEMS:
        database.write([item], sync=True)
    database.close()
    return tmp_path


def values(database: LevelDb) -> dict[bytes, bytes]:
    return dict(database.scan(b"key"))


def test_a_new_one_is_unsettled_until_its_owner_says_so(tmp_path: Path) -> None:
    database = opened(tmp_path)
    assert database.unsettled
    database.close()
    again = opened(tmp_path)
    assert again.unsettled
    again.settle()
    again.close()
    last = opened(tmp_path)
    assert not last.unsettled
    last.close()


KILLED = {"LOCK": b"", "LOG": b"", "MANIFEST-000001": b"\x56\xf9", "000001.dbtmp": b"MANIFEST-0"}
"""What LevelDB leaves behind when the process ends between its first manifest and CURRENT."""
WITHOUT_POWER = {
    "CURRENT": b"MANIFEST-000001\n",
    "MANIFEST-000001": b"",
    "MANIFEST-000002": b"\x56\xf9\xb8\xf8\x1c\x00\x01\x01\x1aleveldb",
    "000002.dbtmp": b"MANIFEST-000002\n",
    "000003.log": bytes(60),
}
"""What a power failure leaves a moment later: it does not sync its first manifest."""


@pytest.mark.parametrize("mends", [True, False])
@pytest.mark.parametrize("left", [KILLED, WITHOUT_POWER])
def test_one_that_was_being_made_at_an_accident_is_made_anew_without_a_word(
    tmp_path: Path, mends: bool, left: dict[str, bytes]
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    for name, content in left.items():
        (folder / name).write_bytes(content)
    database = opened(tmp_path) if mends else LevelDb(folder)
    assert database.mended == 0
    database.write(ITEMS, sync=True)
    database.close()
    again = opened(tmp_path) if mends else LevelDb(folder)
    assert (again.mended, values(again)) == (0, dict(ITEMS))
    again.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*"])
def test_a_missing_or_damaged_index_is_made_anew(folder: Path, name: str) -> None:
    for harm in (lambda file: file.unlink(), lambda file: file.write_bytes(b"?" * 40)):
        harm(next((folder / "state").glob(name)))
        database = opened(folder)
        assert database.mended == 1
        assert database.unsettled
        assert values(database) == dict(ITEMS)
        database.settle()
        database.close()


def test_records_that_a_repair_takes_unchecked_are_dropped_by_their_seal(folder: Path) -> None:
    log = next((folder / "state").glob("*.log"))
    data = log.read_bytes()
    log.write_bytes(
        data.replace(b"value 7 x", b"value 8 x").replace(b"key 9v", b"key 0v").replace(b"key 9f", b"key 0f")
    )
    database = opened(folder)
    found = values(database)
    assert database.mended
    assert database.dropped >= 1
    assert found.items() <= dict(ITEMS).items()
    assert b"key 7" not in found
    assert len(found) >= len(ITEMS) - 2
    database.close()


def test_what_cannot_be_repaired_goes_to_the_quarantine(folder: Path) -> None:
    for file in (folder / "state").iterdir():
        if file.name != "LOCK":
            file.write_bytes(b"rubbish " * 100)
    telemetry = Telemetry()
    database = opened(folder, telemetry)
    assert values(database) == {}
    assert database.unsettled
    assert [path.name.partition("-")[2] for path in (folder / "quarantine").iterdir()] == ["state"]
    assert len(telemetry.losses) == 1
    database.close()


def test_a_repair_that_was_interrupted_is_taken_up(folder: Path) -> None:
    (folder / "state").rename(folder / "state.mending")
    database = opened(folder)
    assert database.unsettled
    assert values(database) == dict(ITEMS)
    assert not (folder / "state.mending").exists()
    database.close()


def test_damage_that_is_found_while_it_is_in_use(tmp_path: Path) -> None:
    database = opened(tmp_path)
    database.settle()
    for _ in range(2):
        database.write(ITEMS, sync=True)
        database.close()
        database = opened(tmp_path)  # the log becomes a table
    table = max((tmp_path / "state").glob("*.ldb"))
    data = bytearray(table.read_bytes())
    data[10] ^= 1
    database.close()
    database = LevelDb(tmp_path / "state")  # without a look at the values, as if the damage came later
    database._quarantine = Quarantine(tmp_path, Telemetry())
    table.write_bytes(data)
    with pytest.raises(LevelDbDamagedError):
        values(database)
    database.mend()
    assert database.unsettled
    assert values(database).items() <= dict(ITEMS).items()
    database.write([(b"key new", b"1")], sync=True)
    assert database.get(b"key new") == b"1"
    database.close()


def test_one_of_the_time_before_the_seals_is_sealed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    plain = plyvel.DB(str(tmp_path / "state"), create_if_missing=True)
    for key, value in ITEMS:
        plain.put(key, value)
    plain.close()
    for _ in range(2):
        database = opened(tmp_path)
        assert values(database) == dict(ITEMS)
        assert not database.unsettled
        assert database.mended == 0
        database.close()


def test_a_newer_format_is_refused(folder: Path) -> None:
    plain = plyvel.DB(str(folder / "state"))
    plain.put(FORMAT_KEY, b"dpipe 2")
    plain.close()
    with pytest.raises(DpipeError, match=r"format b'dpipe 2'.*start the newer one"):
        opened(folder)
    assert not (folder / "quarantine").exists()


def test_a_disk_that_is_full_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise plyvel.IOError(b"IO error: 000004.log: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dpiped.leveldb.plyvel.DB", full)
        with pytest.raises(LevelDbError) as caught:
            opened(folder)
    assert not isinstance(caught.value, LevelDbDamagedError)
    assert not (folder / "quarantine").exists()
    assert (folder / "state").exists()
    database = opened(folder)
    assert values(database) == dict(ITEMS)
    database.close()


def test_a_flipped_length_in_the_last_block_hides_nothing(folder: Path) -> None:
    log = next((folder / "state").glob("*.log"))
    data = log.read_bytes()
    at = data.index(b"key 20") - 14 - 7  # the header of a record: 12 bytes of its batch, kind and length of the key
    at = next(place for place in range(at - 8, at + 9) if data[place + 6] == 1 and data[place + 5] == 0)
    damaged = bytearray(data)
    damaged[at + 5] ^= 0x40
    log.write_bytes(damaged)
    assert hides_records(log)
    database = opened(folder)
    assert database.unsettled
    assert values(database).items() <= dict(ITEMS).items()
    database.close()


def test_a_torn_log_hides_nothing(folder: Path) -> None:
    log = next((folder / "state").glob("*.log"))
    data = log.read_bytes()
    for size in range(0, len(data), 31):
        log.write_bytes(data[:size])
        assert not hides_records(log)


CLOSED_UNDER_READERS = """
import sys, threading
from pathlib import Path
from dpiped.leveldb import LevelDb, LevelDbError
database = LevelDb(Path(sys.argv[1]))
database.write([(b"key %d" % n, bytes(1000)) for n in range(20_000)], sync=False)

def read():
    try:
        while True:
            for _ in database.scan(b"key"):
                reading.set()
    except LevelDbError:
        pass

for _ in range(40):
    reading = threading.Event()
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    reading.wait()
    database.close()
    for reader in readers:
        reader.join()
    database = LevelDb(Path(sys.argv[1]))
"""
"""In a process of its own, for a mistake ends it."""


def test_one_that_is_closed_while_threads_read_it_only_stops_them(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSED_UNDER_READERS, str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

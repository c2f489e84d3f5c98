"""BehaviorTable: what is stored stays, whatever happens to process and folder."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dpiped.behavior import block
from dpiped.behavior.columns import coded
from dpiped.behavior.rows import DAY_MS, LINE_BITS, Rows
from dpiped.behavior.scan import Scan, ScanStoppedError
from dpiped.behavior.table import BehaviorTable, WrongTableError
from dpiped.behavior.timeline import of_user
from dpiped.leveldb import LevelDbDamagedError, LevelDbError
from dpiped.telemetry import Telemetry


def pack_of(offset: int, *events: tuple[int, int, str], epoch: str = "e") -> tuple[str, int, Rows]:
    """(user, time, action) of each event."""
    places = np.arange(len(events)) | offset << LINE_BITS
    return (
        epoch,
        offset,
        Rows(
            np.array([user for user, _, _ in events], np.int64),
            np.array([time for _, time, _ in events], np.int64),
            coded([action for _, _, action in events]),
            coded([epoch for _ in events]),
            places,
            {},
        ),
    )


def opened(folder: Path, *, texts: bool = False, telemetry: Telemetry | None = None) -> BehaviorTable:
    return BehaviorTable(folder, "players", telemetry or Telemetry(), texts=texts)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[BehaviorTable]:
    found = opened(tmp_path)
    yield found
    found.close()


def actions(table: BehaviorTable, user: int = 1) -> list[str]:
    return [one["action"] for one in of_user(table, user)]


def test_what_was_stored_is_there_in_order_of_time(table: BehaviorTable) -> None:
    table.add([pack_of(0, (1, 30, "c"), (1, 10, "a")), pack_of(1, (1, 20, "b"), (2, 5, "z"))])
    assert actions(table) == ["a", "b", "c"]
    assert (table.fresh_rows, table.size().rows) == (4, 4)
    assert table.fold() == 4
    assert (table.fresh_rows, table.size().rows) == (0, 4)
    assert actions(table) == ["a", "b", "c"]
    assert table.fold() == 0


def test_a_repeat_overwrites_before_and_after_a_fold(table: BehaviorTable) -> None:
    again = pack_of(0, (1, 10, "a"), (1, 20, "b"))
    table.add([again])
    table.add([again])
    table.fold()
    table.add([again])
    assert actions(table) == ["a", "b"]
    table.fold()
    assert (actions(table), table.size().rows) == (["a", "b"], 2)


def test_of_a_repeat_that_says_something_else_the_newest_counts(
    table: BehaviorTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a replay with another config."""
    monkeypatch.setattr("dpiped.behavior.table.SMALL_ROWS", 1)
    for action in ("a", "b", "c", "d"):
        for offset in range(3):
            table.add([pack_of(offset, (1, offset, action))])
        assert actions(table) == [action] * 3
        table.fold()
        assert actions(table) == [action] * 3
    assert table.size().blocks == 4


def test_the_same_offset_of_another_epoch_is_another_pack(table: BehaviorTable) -> None:
    table.add([pack_of(0, (1, 10, "a")), pack_of(0, (1, 10, "b"), epoch="f")])
    table.fold()
    assert actions(table) == ["a", "b"]


def test_small_blocks_grow_and_big_ones_stay(table: BehaviorTable, monkeypatch: pytest.MonkeyPatch) -> None:
    for offset in range(3):
        table.add([pack_of(offset, (1, offset, "a"))])
        table.fold()
    assert table.size().blocks == 1
    monkeypatch.setattr("dpiped.behavior.table.SMALL_ROWS", 3)
    table.add([pack_of(3, (1, 3, "b"))])
    table.fold()
    assert (table.size().blocks, actions(table)) == (2, ["a", "a", "a", "b"])


def test_old_days_are_dropped_and_no_others(table: BehaviorTable) -> None:
    times = [-DAY_MS - 1, -1, 0, DAY_MS - 1, DAY_MS, 2 * DAY_MS]
    table.add([pack_of(0, *((user, time, str(time)) for time in times for user in (1, 2, 3)))])
    table.fold()
    assert table.size()[2:] == (-2, 2)
    assert table.expire(1) == 12
    assert actions(table) == [str(DAY_MS), str(2 * DAY_MS)]
    assert table.expire(1) == 0
    assert table.size() == (6, table.size().blocks, 1, 2)


def test_a_view_is_of_one_moment(table: BehaviorTable) -> None:
    table.add([pack_of(0, *((user, 1, "a") for user in range(500)))])
    pieces = Scan(table).users()
    seen = len(next(pieces))
    table.add([pack_of(1, *((user, 2, "b") for user in range(500)))])
    table.fold()
    table.expire(10)
    assert seen + sum(map(len, pieces)) == 500
    assert table.size().rows == 0


def test_only_the_days_that_are_asked_for_are_read(table: BehaviorTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table.add([pack_of(0, *((1, day * DAY_MS + 5, str(day)) for day in range(9)))])
    table.fold()
    read: list[Rows] = []
    decode = block.decode
    monkeypatch.setattr(block, "decode", lambda value, texts: read.append(decode(value, texts=texts)) or read[-1])
    (rows,) = Scan(table).users(3 * DAY_MS + 5, 5 * DAY_MS + 5)
    assert sorted(rows.actions.values) == ["3", "4"]
    assert sum(map(len, read)) == 3


def test_a_scan_can_be_stopped_and_has_a_limit(table: BehaviorTable) -> None:
    table.add([pack_of(0, *((user, 1, "a") for user in range(500)))])
    scan = Scan(table)
    pieces = scan.users()
    next(pieces)
    scan.stop()
    with pytest.raises(ScanStoppedError, match="stopped"):
        next(pieces)
    with pytest.raises(ScanStoppedError, match="more than -1 s: ask about less time"):
        next(Scan(table, -1.0).users())


def test_closing_ends_a_scan_with_one_line(table: BehaviorTable) -> None:
    table.add([pack_of(0, *((user, 1, "a") for user in range(500)))])
    table.fold()
    pieces = Scan(table).users()
    next(pieces)
    table.close()
    with pytest.raises(LevelDbError, match=r"^read .*players"):
        list(pieces)
    with pytest.raises(LevelDbError, match=r"^read .*players"):
        table.size()


# ---- the folder ----------------------------------------------------------------------------------------------------
def test_it_is_found_again_with_what_was_fresh(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.add([pack_of(0, (1, 10, "a"))])
    first.fold()
    first.add([pack_of(1, (1, 20, "b"))])
    first.close()
    again = opened(tmp_path)
    assert (again.fresh_rows, actions(again)) == (1, ["a", "b"])
    again.fold()
    again.add([pack_of(2, (1, 30, "c"))])
    again.fold()
    assert actions(again) == ["a", "b", "c"]
    again.close()
    assert (tmp_path / "behavior").stat().st_mode & 0o777 == 0o750


def test_a_table_keeps_the_type_of_its_uids(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(WrongTableError, match="players holds uids of type int: keep that, or name another table"):
        opened(tmp_path, texts=True)
    opened(tmp_path).close()  # the one that failed holds nothing


def test_a_newer_layout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).close()
    monkeypatch.setattr(block, "VERSION", 0)
    with pytest.raises(WrongTableError, match="players has layout 1, this dpiped knows 0: start the newer one"):
        opened(tmp_path)


def hold(folder: str, ready: object, done: object) -> None:
    found = opened(Path(folder))
    ready.set()  # type: ignore[attr-defined]
    done.wait(30)  # type: ignore[attr-defined]
    found.close()


def test_a_folder_that_is_locked_is_one_line(tmp_path: Path) -> None:
    start = multiprocessing.get_context("spawn")
    ready, done = start.Event(), start.Event()
    other = start.Process(target=hold, args=(str(tmp_path), ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(LevelDbError, match=r"^open .*players: .*LOCK") as caught:
            opened(tmp_path)
        assert not isinstance(caught.value, LevelDbDamagedError)
    finally:
        done.set()
        other.join()


def test_a_damaged_folder_is_mended_counted_and_reported(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.add([pack_of(0, *((user, 1, "a") for user in range(50)))])
    first.close()
    for file in (tmp_path / "behavior/players").iterdir():
        if file.suffix in (".log", ".ldb"):
            data = bytearray(file.read_bytes())
            data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
            file.write_bytes(bytes(data))
    telemetry = Telemetry()
    again = opened(tmp_path, telemetry=telemetry)
    assert any("place behavior/players" in loss for loss in telemetry.losses)
    again.add([pack_of(1, (1, 20, "b"))])
    assert actions(again)[-1] == "b"
    again.close()
    telemetry = Telemetry()
    opened(tmp_path, telemetry=telemetry).close()
    assert list(telemetry.losses) == []


def test_damage_found_while_it_is_used_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = Telemetry()
    found = opened(tmp_path, telemetry=telemetry)
    found.add([pack_of(0, (1, 10, "a"))])
    write, tries = found._database.write, []

    def fail_once(items: object, *, sync: bool) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise LevelDbDamagedError("write players: Corruption")
        write(items, sync=sync)  # type: ignore[arg-type]

    monkeypatch.setattr(found._database, "write", fail_once)
    found.add([pack_of(1, (1, 20, "b"))])
    assert actions(found) == ["a", "b"]
    assert any("behavior/players" in loss for loss in telemetry.losses)
    found.close()


def test_a_copy_of_the_folder_at_any_moment_holds_what_add_returned_for(tmp_path: Path) -> None:
    """As after a kill: nothing is kept in memory only."""
    found = opened(tmp_path / "one")
    expected: list[str] = []
    for offset in range(6):
        found.add([pack_of(offset, (1, offset, str(offset)))])
        expected.append(str(offset))
        if offset % 2:
            found.fold()
        shutil.copytree(tmp_path / "one", tmp_path / f"copy{offset}")
        after = opened(tmp_path / f"copy{offset}")
        assert actions(after) == expected
        after.close()
    found.close()

"""Dead letters: a repeat overwrites, the folder is bounded, and a database that failed once is usable again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dpiped.deadletter import DeadLetters, Letter
from dpiped.journal.state import MemoryDatabase
from dpiped.leveldb import Items, LevelDb, LevelDbError
from dpiped.telemetry import Telemetry

NOW = int(time.time() * 1000)


def letter(cause: str, raw: bytes = b"{bad", at_ms: int = NOW, reason: str = "malformed") -> Letter:
    return Letter(cause, reason, "http", False, "rs", "app", "/x.log", "web-7", at_ms, raw)


async def test_a_repeat_overwrites() -> None:
    letters = DeadLetters(MemoryDatabase(), Telemetry())
    await letters.put([letter("s/1/1"), letter("s/1/2")])
    await letters.put([letter("s/1/1", at_ms=NOW + 5, reason="again"), letter("s/1/1", at_ms=NOW + 6, reason="last")])
    assert letters.count == 2
    assert [(found.cause, found.reason) for found in letters.scan()] == [("s/1/2", "malformed"), ("s/1/1", "last")]
    assert await letters.drop(["s/1/1", "unknown"]) == 1
    assert letters.count == 1
    assert await letters.drop(["s/1/2"]) == 1
    assert (letters.count, letters.bytes, list(letters.scan())) == (0, 0, [])
    letters.close()


async def test_those_of_one_moment_come_in_the_order_of_their_lines() -> None:
    letters = DeadLetters(MemoryDatabase(), Telemetry())
    causes = [f"s/{seq}{frame}/{line}" for seq in (9, 10) for frame in ("", ".2", ".11") for line in range(1, 13)]
    await letters.put([letter(cause) for cause in causes])
    await letters.put([letter("a/1", at_ms=NOW + 1), letter("z/1", at_ms=NOW - 1)])
    assert [found.cause for found in letters.scan()] == ["z/1", *causes, "a/1"]
    letters.close()


async def test_the_oldest_go_first_and_are_counted() -> None:
    telemetry = Telemetry()
    letters = DeadLetters(MemoryDatabase(), telemetry, max_bytes=5_000)
    for n in range(30):
        await letters.put([letter(f"s/{n}", b"x" * 400, NOW + n)])
    left = [int(found.cause[2:]) for found in letters.scan()]
    assert sorted(left) == list(range(30 - len(left), 30))
    assert 0 < len(left) < 15
    assert letters.bytes <= 5_000
    dropped = telemetry.metrics.dropped.labels("deadletter", "dead_letter_full")
    assert dropped._value.get() == 30 - len(left)
    letters.close()


async def test_those_past_their_age_go() -> None:
    telemetry = Telemetry()
    letters = DeadLetters(MemoryDatabase(), telemetry)
    await letters.put([letter("old", at_ms=NOW - 40 * 24 * 3_600_000)])
    await letters.put([letter("new")])
    assert [found.cause for found in letters.scan()] == ["new"]
    text = telemetry.metrics.text()
    assert b'dpipe_dropped_events_total{plugin="deadletter",reason="dead_letter_old"} 1.0\n' in text
    assert b"dead_letter_full" not in text
    letters.close()


async def test_everything_is_counted_at_open(tmp_path: Path) -> None:
    letters = DeadLetters(LevelDb(tmp_path), Telemetry())
    await letters.put([letter("a", "käse\udcff".encode("utf-8", "surrogatepass")), letter("b", b"\xff\x00")])
    size = letters.bytes
    letters.close()
    again = DeadLetters(LevelDb(tmp_path), Telemetry())
    again.open()
    assert (again.count, again.bytes) == (2, size)
    assert [found.raw for found in again.scan()][1] == b"\xff\x00"
    again.close()


async def test_nothing_to_put_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    database = MemoryDatabase()
    monkeypatch.setattr(database, "write", None)
    letters = DeadLetters(database, Telemetry())
    await letters.put([])
    letters.close()


async def test_a_write_that_fails_after_it_was_stored_is_counted_once(tmp_path: Path) -> None:
    database = LevelDb(tmp_path)
    letters = DeadLetters(database, Telemetry())
    letters.open()
    real, failures = database.write, [LevelDbError("synced, but nobody knows")]

    def write(items: Items, *, sync: bool) -> None:
        real(items, sync=sync)
        if failures:
            raise failures.pop()

    database.write = write  # type: ignore[method-assign]
    with pytest.raises(LevelDbError):
        await letters.put([letter("a")])
    await letters.put([letter("a")])
    assert letters.count == 1
    assert letters.bytes > 0
    letters.close()

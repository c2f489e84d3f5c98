"""Room: what refuses hundreds of times a second is told once, and counted each time."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from dpiped.journal import room as module
from dpiped.journal.memory import MemoryStorage
from dpiped.journal.room import FULL, LOW, QUIET_SECS, Room
from dpiped.telemetry import Telemetry


class Disk(MemoryStorage):
    free_bytes = 1 << 40

    def free_disk_bytes(self) -> int:
        return self.free_bytes


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    monkeypatch.setattr(module.Outage.__init__, "__defaults__", (found.monotonic,))
    return found


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="dpipe")


def make(disk: Disk, **options: Any) -> Room:
    return Room(disk, Telemetry(), options.get("max_bytes", 1 << 30), options.get("min_free_bytes", 0))


def test_a_full_journal_is_told_once(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    disk = Disk()
    room = make(disk, max_bytes=100)
    for disk.used_bytes in (100, 100, 50, 100, 50):
        assert (room.refusal("input") is None) == (disk.used_bytes == 50)
        clock.now += 1
    assert room.refusal("filter") is None
    assert told(caplog) == [("WARNING", FULL)]
    clock.now += QUIET_SECS
    assert room.refusal("filter") is None
    assert told(caplog) == []
    assert room.refusal("input") is None
    assert told(caplog) == [("INFO", "the journal takes packs again")]


def test_a_disk_with_too_little_left_is_told_and_shown(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    disk = Disk()
    room = make(disk, max_bytes=100, min_free_bytes=1_000)
    disk.free_bytes, disk.used_bytes = 999, 100
    assert room.problems == ["journal: full", "journal: less than min_free_bytes left"]
    for _ in range(3):
        assert str(room.refusal("input")) == FULL
        assert str(room.refusal("filter")) == LOW
    assert told(caplog) == [("WARNING", FULL), ("WARNING", LOW)]
    disk.free_bytes, disk.used_bytes = 1_000, 0
    clock.now += QUIET_SECS
    assert room.problems == []
    assert room.refusal("input") is None
    assert told(caplog) == [("INFO", "the journal takes packs again")]


def test_a_disk_that_takes_only_small_writes_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    room = make(Disk())
    for _ in range(60):
        for _ in range(100):
            room.failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        assert room.problems == ["journal: No space left on device"]
        clock.now += 1
        room.wrote()
        assert (room.problems, room.failing) == (["journal: No space left on device"], "")
    assert told(caplog) == [("ERROR", "journal cannot be written")]
    room.failed(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert told(caplog) == [("ERROR", "journal cannot be written")]
    room.wrote()
    clock.now += QUIET_SECS
    assert room.problems == []
    room.wrote()
    assert told(caplog) == [("INFO", "journal can be written again")]
    failures = room._telemetry.metrics.failures.labels("journal")
    assert failures._value.get() == 6_001

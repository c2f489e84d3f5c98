"""VERSION, hang.json, the quarantine and the disk at a start."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import msgspec
import pytest

from dpiped.errors import DpipeError, LockedError
from dpiped.exit_code import ExitCode
from dpiped.lock import VERSION, DataDir, version_line
from dpiped.patience import patiently
from dpiped.quarantine import Quarantine
from dpiped.telemetry import Telemetry
from dpiped.watchdog import Hang, Watch, Watchdog, load_hang


def locked(folder: Path) -> Telemetry:
    telemetry = Telemetry()
    data_dir = DataDir(folder, telemetry)
    data_dir.lock()
    data_dir.unlock()
    return telemetry


def test_a_new_one_gets_its_version(tmp_path: Path) -> None:
    locked(tmp_path)
    assert (tmp_path / "VERSION").read_bytes() == version_line(VERSION)
    assert (tmp_path / "VERSION").stat().st_mode & 0o777 == 0o640
    assert not locked(tmp_path).losses


def test_an_older_one_is_migrated(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("1\n")
    assert not locked(tmp_path).losses
    assert (tmp_path / "VERSION").read_bytes() == version_line(VERSION)


@pytest.mark.parametrize("content", [version_line(VERSION + 1), b"3\n", b"17", version_line(999)])
def test_a_newer_one_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "VERSION").write_bytes(content)
    with pytest.raises(DpipeError, match="start the newer one"):
        locked(tmp_path)
    assert (tmp_path / "VERSION").read_bytes() == content
    assert not (tmp_path / "quarantine").exists()


def test_one_of_which_nothing_is_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_bytes(b"0\n")
    with pytest.raises(DpipeError, match="nothing is known"):
        locked(tmp_path)


def test_a_damaged_one_is_moved_aside(tmp_path: Path) -> None:
    sound = version_line(VERSION)
    flipped = [
        sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :] for at in range(len(sound)) for bit in range(8)
    ]
    for number, content in enumerate([b"", b"\n", b"two\n", b"2\n", sound[:5], b"\0" * 20, *flipped], 1):
        (tmp_path / "VERSION").write_bytes(content)
        assert len(locked(tmp_path).losses) == 1, content
        assert (tmp_path / "VERSION").read_bytes() == sound
        assert len(list((tmp_path / "quarantine").iterdir())) == number


def test_hang_json_counts_only_when_it_is_sound(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path, telemetry := Telemetry())
    assert load_hang(tmp_path, quarantine) == Hang()
    assert not telemetry.losses
    hang = Hang("traffic", 4711, 2)
    hang.check = hang.checked()
    sound = msgspec.json.encode(hang)
    (tmp_path / "hang.json").write_bytes(sound)
    assert load_hang(tmp_path, quarantine) == hang
    older = sound.replace(b'"version":2', b'"version":1')
    newer = sound.replace(b'"version":2', b'"version":3')
    for content in (
        sound.replace(b"4711", b"4710"),
        sound.replace(b":2", b":3"),
        older,
        newer,
        b"",
        b"\xff\xfe",
        b"[1]",
    ):
        (tmp_path / "hang.json").write_bytes(content)
        assert load_hang(tmp_path, quarantine) == Hang(), content
        assert not (tmp_path / "hang.json").exists()


def test_what_cannot_be_moved_is_said_and_left(tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_bytes(b"a file")
    (tmp_path / "bad").write_bytes(b"x")
    telemetry = Telemetry()
    assert not Quarantine(tmp_path, telemetry).take(tmp_path / "bad", "damaged")
    assert (tmp_path / "bad").exists()


def test_names_in_the_quarantine_are_never_used_twice(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path, Telemetry())
    for n in range(5):
        (tmp_path / "bad").write_bytes(b"%d" % n)
        assert quarantine.take(tmp_path / "bad", "damaged")
    kept = sorted((tmp_path / "quarantine").iterdir())
    assert sorted(path.read_bytes() for path in kept) == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_passes_is_waited_for_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.patience.PAUSE_SECS", 0.001)
    errors: list[Exception] = []

    def work() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    errors[:] = [OSError(errno.ENOSPC, "No space left on device"), DpipeError("open x: Input/output error")]
    assert await patiently("x", work, Telemetry()) == "done"
    errors[:] = [OSError(errno.EIO, "Input/output error")] * 5
    with pytest.raises(OSError, match="Input/output"):
        await patiently("x", work, Telemetry(), 3)
    errors[:] = [OSError(errno.ENOSPC, "No space left on device")] * 5
    assert await patiently("x", work, Telemetry(), 3) == "done"
    errors[:] = [PermissionError(errno.EACCES, "Permission denied")]
    with pytest.raises(PermissionError):
        await patiently("x", work, Telemetry())


def test_a_full_disk_does_not_keep_the_watchdog_from_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("dpiped.watchdog.write_synced", full)
    monkeypatch.setattr("dpiped.watchdog.os._exit", end)
    monkeypatch.setattr("dpiped.watchdog.faulthandler.dump_traceback", lambda **_: None)
    with pytest.raises(SystemExit) as caught:
        Watchdog(Watch(), tmp_path, 1.0)._end("traffic", 3)
    assert caught.value.code == ExitCode.WATCHDOG


def test_the_watchdog_outlives_that_no_thread_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Semaphore(0)

    def no_thread(*_: float, exit: bool) -> None:
        tried.release()
        raise RuntimeError("unable to start watchdog thread")

    monkeypatch.setattr("dpiped.watchdog.PERIOD_SECS", 0.001)
    monkeypatch.setattr("dpiped.watchdog.faulthandler.dump_traceback_later", no_thread)
    watchdog = Watchdog(Watch(), tmp_path, 1000.0)
    watchdog.start()
    assert all(tried.acquire(timeout=20) for _ in range(3))
    watchdog.stop()


def test_the_same_hang_is_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("dpiped.watchdog.os._exit", end)
    monkeypatch.setattr("dpiped.watchdog.faulthandler.dump_traceback", lambda **_: None)
    quarantine = Quarantine(tmp_path, Telemetry())
    for times in (1, 2, 3):
        watch = Watch()
        watch.hung = load_hang(tmp_path, quarantine)
        with pytest.raises(SystemExit):
            Watchdog(watch, tmp_path, 1.0)._end("traffic", 3)
        assert load_hang(tmp_path, quarantine).times == times


@pytest.mark.parametrize("content", [b"1\n", b"two\n", None])
def test_who_only_reads_writes_nothing(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "lock").touch()
    if content is not None:
        (tmp_path / "VERSION").write_bytes(content)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    reader = DataDir(tmp_path)
    reader.lock_shared()
    reader.unlock()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_start_waits_for_those_who_only_read_and_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked(tmp_path)
    reader, owner = DataDir(tmp_path), DataDir(tmp_path)
    reader.lock_shared()
    threading.Timer(0.1, reader.unlock).start()
    owner.lock()
    started = time.monotonic()
    with pytest.raises(LockedError):
        DataDir(tmp_path).lock()
    assert time.monotonic() - started < 1
    owner.unlock()
    reader.lock_shared()
    monkeypatch.setattr("dpiped.lock.READERS_SECS", 0.05)
    with pytest.raises(LockedError):
        owner.lock()
    reader.unlock()

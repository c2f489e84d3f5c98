"""The power fails, and the disk keeps only what was synced: names of files and folders are lost too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.power import Disk

from .conftest import Collector, Daemon, Program, events_in, started, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
STORES = """
[[output]]
type = "file"
name = "archive"
path = "{folder}/out/%Y/%m/{{ident}}.ndjson"
metadata = false
"""


COLLECTED = """
[[input]]
type = "tail"
paths = ["{log}"]
read_from = "start"
codec = "json"
project = "rs"
ident = "app"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """That of a daemon."""
    return Disk(tmp_path, "daemon", [tmp_path / "dpiped", tmp_path / "out"])


def daemon_on(disk: Disk, folder: Path) -> Daemon:
    disk.begin()
    return Daemon(folder, STORES.format(folder=folder), environ=disk.environ)


def delivered(folder: Path) -> list[int]:
    return [event["n"] for event in events_in(folder, "out/*/*/*.ndjson")]


def test_what_is_recorded_is_what_is_on_the_disk(disk: Disk, tmp_path: Path, programs: list[Program]) -> None:
    daemon = started(programs, daemon_on(disk, tmp_path))
    for n in range(20):
        daemon.send([{"n": n}], f"app{n % 3}")
    daemon.wait_delivered("archive")
    daemon.kill()
    before = contents(tmp_path)
    disk.fail("all")
    assert contents(tmp_path) == before
    assert len(before) > 10


def contents(folder: Path) -> dict[Path, bytes]:
    """Without the logs of LevelDB, which are written in a way that is not recorded."""
    files = [path for name in ("dpiped", "out") for path in (folder / name).rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if path.name not in ("LOG", "LOG.old")}


def test_the_first_batch_that_was_accepted_is_there_after_it(
    disk: Disk, tmp_path: Path, programs: list[Program]
) -> None:
    daemon = started(programs, daemon_on(disk, tmp_path))
    daemon.send([{"n": 1}])
    daemon.kill()
    disk.fail("synced")
    daemon.start()
    daemon.wait_delivered("archive")
    assert delivered(tmp_path) == [1]


def test_what_was_delivered_is_not_delivered_again_and_not_lost(
    disk: Disk, tmp_path: Path, programs: list[Program]
) -> None:
    daemon = started(programs, daemon_on(disk, tmp_path))
    daemon.send([{"n": 1}])
    daemon.wait_delivered("archive")
    daemon.kill()
    disk.fail("synced")
    disk.begin()
    daemon.start()
    daemon.send([{"n": 2}])
    wait_until(lambda: 2 in delivered(tmp_path), "the second event is delivered")
    daemon.kill()
    disk.fail("synced")
    daemon.start()
    daemon.wait_delivered("archive")
    assert delivered(tmp_path) == [1, 2]


def test_a_collector_sends_nothing_twice_and_leaves_nothing_out(tmp_path: Path, programs: list[Program]) -> None:
    daemon = started(programs, Daemon(tmp_path, STORES.format(folder=tmp_path)))
    log, disk = tmp_path / "app.log", Disk(tmp_path, "collector", [tmp_path / "collector"])
    collector = Collector(tmp_path, [daemon.url], COLLECTED.format(log=log), environ=disk.environ)
    programs.append(collector)
    for end in (50, 100, 150):
        with log.open("ab") as file:
            file.write(b"".join(b'{"n":%d}\n' % n for n in range(end - 50, end)))
        disk.begin()
        collector.start()
        wait_until(lambda: end - 1 in delivered(tmp_path), "the lines arrive")  # noqa: B023 - called at once
        collector.kill()
        disk.fail("synced")
    assert delivered(tmp_path) == list(range(150))

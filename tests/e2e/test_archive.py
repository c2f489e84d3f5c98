"""Input `archive` as operators use it: a run over history, killed and begun again, and its exit status."""

from __future__ import annotations

import gzip
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from .conftest import Program, events_in, started, wait_until

pytestmark = pytest.mark.slow


def program(folder: Path, more: str = "") -> Program:
    import sys

    file = folder / "archive.toml"
    file.write_text(
        f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{folder}/dpiped"\n[[project]]\nname = "rs"\n'
        f'[[input]]\ntype = "archive"\npaths = ["{folder}/in"]\nident = "old"\nexclude = ["*.md"]\n{more}\n'
        f'[[output]]\ntype = "file"\npath = "{folder}/out/all.ndjson"\n',
        encoding="utf-8",
    )
    return Program(folder, "archive", [sys.executable, "-m", "dpiped", "run", "-c", str(file)])


def fill(folder: Path, count: int, each: int) -> None:
    (folder / "in" / "deep").mkdir(parents=True)
    for number in range(count):
        lines = b"".join(b'{"n":%d,"pad":"%s"}\n' % (number * each + n, b"x" * 200) for n in range(each))
        place = folder / "in" / ("deep" if number % 2 else "") / f"{number:03}.gz"
        place.write_bytes(gzip.compress(lines, 1))


def ended(run: Program) -> int:
    wait_until(lambda: run.status is not None, f"it ends:\n{run.text()[-2000:]}", 60)
    assert run.status is not None
    return run.status


def numbers(folder: Path) -> Counter[int]:
    return Counter(event["n"] for event in events_in(folder / "out"))


def test_a_run_that_is_killed_again_and_again_is_exact(tmp_path: Path, programs: list[Program]) -> None:
    chance = random.Random(3)
    fill(tmp_path, 24, 6_000)
    (tmp_path / "in" / "README.md").write_text("no events")
    run = program(tmp_path, "threads = 3")
    programs.append(run)
    for _ in range(5):
        run.start()
        time.sleep(chance.uniform(0.7, 1.6))  # the moment is what is tried here
        run.kill()
    run.start()
    assert ended(run) == 0
    found = numbers(tmp_path)
    assert len(found) == 24 * 6_000
    assert set(found.values()) == {1}
    run.start()
    assert ended(run) == 0, "and once more there is nothing to do"
    assert numbers(tmp_path) == found


def test_files_keep_their_order_and_their_times(tmp_path: Path, programs: list[Program]) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        lines = b"".join(b'us,%d,{"n":%d,"f":"%s"}\n' % (1_300_000_000 + n, n, name.encode()) for n in range(9_000))
        (tmp_path / "in" / f"{name}.log").write_bytes(lines)
    run = program(tmp_path, 'codec = "als"')
    started(programs, run)
    assert ended(run) == 0
    events = events_in(tmp_path / "out")
    for name in "ab":
        mine = [event for event in events if event["f"] == name]
        assert [event["n"] for event in mine] == list(range(9_000))
        assert mine[0]["@timestamp"] == 1_300_000_000_000
        assert mine[0]["_source"] == f"{tmp_path}/in/{name}.log"


def test_a_torn_file_is_named_and_the_rest_is_read(tmp_path: Path, programs: list[Program]) -> None:
    fill(tmp_path, 6, 2_000)
    torn = tmp_path / "in" / "002.gz"
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    run = program(tmp_path)
    started(programs, run)
    assert ended(run) == 4
    assert "002.gz: it is cut off in the middle" in run.text()
    before = numbers(tmp_path)
    assert set(before) > set(range(6 * 2_000)) - set(range(4_000, 6_000))
    assert 4_000 in before
    torn.write_bytes(whole)
    run.start()
    assert ended(run) == 4, "so much of it is read as it had at the first start"
    assert set(numbers(tmp_path).values()) == {1}


def test_no_file_is_one_line(tmp_path: Path, programs: list[Program]) -> None:
    run = program(tmp_path)
    started(programs, run)
    assert ended(run) == 1
    assert "no file matches" in run.text()
    assert "Traceback" not in run.text()

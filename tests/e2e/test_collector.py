"""Collector -> daemon -> file with real processes: every line once, whatever happens on the way."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Collector, Daemon, Program, events_in, free_port, started, wait_until

pytestmark = pytest.mark.timeout(150)


def out(folder: Path, name: str = "out") -> str:
    return f'[[output]]\ntype = "file"\npath = "{folder}/{name}/{{ident}}.ndjson"\n'


def tail(folder: Path, **keys: str) -> str:
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f'[[input]]\ntype = "tail"\npaths = ["{folder}/logs/*.log"]\nproject = "rs"\nident = "app"\n{more}'


def start_all(programs: list[Program], *some: Program) -> None:
    for program in some:
        started(programs, program)


def lines(first: int, last: int) -> str:
    return "".join(f"line {n}\n" for n in range(first, last))


def append(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as handle:
        handle.write(text)


def numbers(folder: Path, name: str = "out") -> list[int]:
    return sorted(int(event["message"].split()[1]) for event in events_in(folder / name))


def arrived(folder: Path, amount: int) -> None:
    wait_until(lambda: len(events_in(folder / "out")) >= amount, f"{amount} lines arrive")


def test_rotation_by_rename_and_truncation(tmp_path: Path, programs: list[Program]) -> None:
    daemon = Daemon(tmp_path, out(tmp_path))
    collector = Collector(tmp_path, [daemon.url], tail(tmp_path))
    log = tmp_path / "logs" / "a.log"
    append(log, lines(0, 100))
    start_all(programs, daemon, collector)
    arrived(tmp_path, 100)
    append(log, lines(100, 200))
    log.rename(log.with_suffix(".log.1"))
    append(log, lines(200, 300))
    arrived(tmp_path, 300)
    shutil.copy(log, log.with_suffix(".log.2"))  # copytruncate
    os.truncate(log, 0)
    # what is longer when the file is looked at cannot be told from a file that grew
    wait_until(lambda: collector.status()["inputs"][0]["counts"].get("truncated") == 1, "the truncation is seen")
    append(log, lines(300, 350))
    arrived(tmp_path, 350)
    collector.stop()
    assert numbers(tmp_path) == list(range(350))
    event = events_in(tmp_path / "out")[0]
    assert event["_source"].endswith("a.log")
    assert event["_host"]


def test_many_files_and_gzip(tmp_path: Path, programs: list[Program]) -> None:
    daemon = Daemon(tmp_path, out(tmp_path))
    for n in range(200):
        append(tmp_path / "logs" / f"f{n}.log", lines(n * 10, n * 10 + 10))
    with gzip.open(tmp_path / "logs" / "old.log.gz", "wt") as handle:
        handle.write(lines(2000, 2100))
    inputs = tail(tmp_path).replace("*.log", "*")
    start_all(programs, daemon, Collector(tmp_path, [daemon.url], inputs))
    arrived(tmp_path, 2100)
    assert numbers(tmp_path) == list(range(2100))


def test_daemon_absent_then_killed(tmp_path: Path, programs: list[Program]) -> None:
    daemon = Daemon(tmp_path, out(tmp_path))
    log = tmp_path / "logs" / "a.log"
    append(log, lines(0, 500))
    collector = Collector(tmp_path, [daemon.url], tail(tmp_path))
    start_all(programs, collector)
    wait_until(lambda: "cannot be reached" in collector.text(), "the collector tells that nobody is there")
    start_all(programs, daemon)
    arrived(tmp_path, 500)
    for turn in range(3):
        append(log, lines(500 + turn * 100, 600 + turn * 100))
        daemon.kill()
        daemon.start()
    arrived(tmp_path, 800)
    assert numbers(tmp_path) == list(range(800))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_collector_ended_again_and_again(tmp_path: Path, programs: list[Program], number: int) -> None:
    chance = random.Random(number)
    daemon = Daemon(tmp_path, out(tmp_path))
    log = tmp_path / "logs" / "a.log"
    collector = Collector(tmp_path, [daemon.url], tail(tmp_path))
    append(log, "")
    start_all(programs, daemon, collector)
    written = 0
    for _ in range(12):
        for _ in range(5):
            amount = chance.randrange(1, 2_000)
            append(log, lines(written, written + amount))
            written += amount
            time.sleep(chance.uniform(0, 0.15))
        if number == signal.SIGKILL:
            collector.kill()
        else:
            assert collector.stop() in (0, -signal.SIGTERM)  # it may not have come to its handlers yet
        collector.start()
    arrived(tmp_path, written)
    assert numbers(tmp_path) == list(range(written))


def test_full_journal_recovers(tmp_path: Path, programs: list[Program]) -> None:
    """An output that cannot write fills the journal; senders wait; when it can again, everything is delivered once."""
    block = tmp_path / "out"
    block.write_text("a file where the folder should be")
    daemon = Daemon(
        tmp_path, out(tmp_path) + "[output.retry]\nmax_secs = 0.5\n", journal='[journal]\nmax_bytes = "1MiB"\n'
    )
    log = tmp_path / "logs" / "a.log"
    chance = random.Random(1)
    log.parent.mkdir()
    with log.open("w") as handle:
        handle.writelines(f"line {n} {chance.randbytes(200).hex()}\n" for n in range(30_000))
    start_all(programs, daemon, Collector(tmp_path, [daemon.url], tail(tmp_path)))
    wait_until(lambda: daemon.stat()["journal"]["full"], "the journal is full")
    block.unlink()
    arrived(tmp_path, 30_000)
    assert numbers(tmp_path) == list(range(30_000))


def test_failover(tmp_path: Path, programs: list[Program]) -> None:
    (tmp_path / "b").mkdir()
    first = Daemon(tmp_path, out(tmp_path, "first"))
    second = Daemon(tmp_path / "b", out(tmp_path, "second"))
    log = tmp_path / "logs" / "a.log"
    append(log, lines(0, 100))
    collector = Collector(tmp_path, [first.url, second.url], tail(tmp_path))
    start_all(programs, first, second, collector)
    wait_until(lambda: len(events_in(tmp_path / "first")) == 100, "the preferred endpoint gets them")
    first.stop()
    append(log, lines(100, 200))
    wait_until(lambda: len(events_in(tmp_path / "second")) == 100, "the other endpoint takes over")
    assert numbers(tmp_path, "first") + numbers(tmp_path, "second") == list(range(200))


def test_chain_with_the_centre_restarted(tmp_path: Path, programs: list[Program]) -> None:
    (tmp_path / "edge").mkdir()
    centre = Daemon(tmp_path, out(tmp_path))
    edge = Daemon(
        tmp_path / "edge", f'[[output]]\ntype = "dpipe"\nendpoints = ["{centre.url}"]\n[output.retry]\nmax_secs = 1\n'
    )
    log = tmp_path / "logs" / "a.log"
    append(log, lines(0, 1000))
    start_all(programs, centre, edge, Collector(tmp_path, [edge.url], tail(tmp_path)))
    arrived(tmp_path, 1000)
    for turn in range(3):
        append(log, lines(1000 + turn * 500, 1500 + turn * 500))
        centre.kill()
        centre.start()
    edge.kill()
    edge.start()
    arrived(tmp_path, 2500)
    assert numbers(tmp_path) == list(range(2500))


def test_multiline_long_lines_and_bad_bytes(tmp_path: Path, programs: list[Program]) -> None:
    daemon = Daemon(tmp_path, out(tmp_path))
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    inputs = tail(tmp_path, multiline='{ start = "^line", timeout_secs = 0.5 }', max_line_bytes="1000")
    log.write_bytes(b"line 0\r\n  at x\nline 1 \xff\xfe\nline 2 " + b"x" * 5000 + b"\nline 3\n")
    start_all(programs, daemon, Collector(tmp_path, [daemon.url], inputs))
    arrived(tmp_path, 4)
    messages = sorted(event["message"] for event in events_in(tmp_path / "out"))
    assert messages[0].replace("\r", "") == "line 0\n  at x"
    assert messages[1] == "line 1 \ufffd\ufffd"
    assert len(messages[2]) <= 1000
    assert messages[3] == "line 3"


def test_send_from_standard_input(tmp_path: Path, programs: list[Program]) -> None:
    daemon = Daemon(tmp_path, out(tmp_path))
    start_all(programs, daemon)
    command = [
        sys.executable,
        "-m",
        "collector",
        "send",
        "--endpoint",
        daemon.url,
        "--project",
        "rs",
        "--ident",
        "app",
        "--codec",
        "raw",
    ]
    subprocess.run(command, input=lines(0, 1000).encode(), check=True, timeout=60)
    arrived(tmp_path, 1000)
    assert numbers(tmp_path) == list(range(1000))


def test_second_collector_on_one_folder(tmp_path: Path, programs: list[Program]) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    first = Collector(tmp_path, [endpoint], tail(tmp_path))
    start_all(programs, first)
    wait_until((tmp_path / "collector" / "lock").exists, "the first has its folder")
    second = Program(tmp_path, "second", first._command)
    start_all(programs, second)
    wait_until(lambda: second.status is not None, "the second ends")
    assert second.status == 3
    assert len(second.text().strip().splitlines()) == 1

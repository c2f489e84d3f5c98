"""Real logs and generated ones with known answers, from the folder that DPIPE_TEST_DATA names, through real
processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .conftest import Collector, Daemon, Program, events_in, started, wait_until

DATA = Path(os.environ.get("DPIPE_TEST_DATA", "/nowhere"))
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="DPIPE_TEST_DATA does not name the folder with logs"),
    pytest.mark.timeout(150),
]
START = 1_389_225_600
LOGHUB = {
    "Apache": "apache_error",
    "HDFS": "hdfs",
    "Linux": "linux_syslog",
    "OpenSSH": "openssh",
    "Hadoop": "",
    "OpenStack": "",
    "Zookeeper": "",
}


def out(folder: Path) -> str:
    return f'[[output]]\ntype = "file"\npath = "{folder}/out/{{ident}}.ndjson"\n'


def generate(folder: Path, *arguments: str, amount: int = 20_000) -> tuple[Path, dict[str, Any]]:
    """(log file, truth)."""
    log, truth = folder / "game.txt", folder / "truth.json"
    subprocess.run(
        [
            sys.executable,
            str(DATA / "gen_game_logs.py"),
            "--events",
            str(amount),
            "--seed",
            "7",
            "--out",
            str(log),
            "--truth",
            str(truth),
            *arguments,
        ],
        check=True,
        timeout=60,
    )
    return log, json.loads(truth.read_text("utf-8"))


def send(daemon: Daemon, file: Path, codec: str) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "collector",
            "send",
            "--endpoint",
            daemon.url,
            "--project",
            "rs",
            "--ident",
            "game",
            "--codec",
            codec,
            str(file),
        ],
        check=True,
        timeout=90,
    )


def delivered(daemon: Daemon) -> bool:
    return all(not plugin.get("lag_packs") for plugin in daemon.stat()["plugins"])


def test_als_counts_by_ident_and_area(tmp_path: Path, programs: list[Program]) -> None:
    log, truth = generate(tmp_path, "--bad", "0.01")
    daemon = started(programs, Daemon(tmp_path, out(tmp_path)))
    send(daemon, log, "als")
    wait_until(lambda: len(events_in(tmp_path / "out")) >= truth["total"]["count"], "all events arrive")
    found = Counter()
    for file in (tmp_path / "out").glob("*.ndjson"):
        ident = file.stem.removeprefix("game.")
        found.update(f"{ident}|{event['_area']}" for event in events_in(tmp_path / "out", file.name))
    assert found == {key: answer["count"] for key, answer in truth["ident_area"].items()}
    rejected = sum(truth["bad_lines"].values()) if isinstance(truth["bad_lines"], dict) else truth["bad_lines"]
    letters = daemon.stat()["deadletters"]["count"]
    assert 0 < letters <= rejected  # an empty line is no event and no letter


@pytest.mark.parametrize(("form", "codec"), [("json", "json"), ("syslog5424", "syslog")])
def test_other_forms_lose_nothing(tmp_path: Path, programs: list[Program], form: str, codec: str) -> None:
    log, truth = generate(tmp_path, "--format", form)
    daemon = started(programs, Daemon(tmp_path, out(tmp_path)))
    send(daemon, log, codec)
    wait_until(lambda: len(events_in(tmp_path / "out")) >= truth["total"]["count"], "all events arrive")
    events = events_in(tmp_path / "out")
    assert len(events) == truth["total"]["count"]
    if form == "json":
        assert Counter(event["_area"] for event in events) == {
            area: found["count"] for area, found in truth["area"].items()
        }
    else:
        assert {event["appname"] for event in events} == {"als"}


def test_counts_per_minute(tmp_path: Path, programs: list[Program]) -> None:
    log, truth = generate(tmp_path, "--span", "1800", amount=30_000)
    count = (
        '[[filter]]\ntype = "aggregate"\nname = "minutes"\nident = "stats"\nwindow_secs = 60\nmetrics = { n = { op = '
        '"count" } }\nmatch = ["game.**"]\nmax_ahead_secs = 1e9\nlateness_secs = 900\nidle_secs = 2\n'
    )
    answers = f'[[output]]\ntype = "file"\nname = "answers"\nmatch = ["stats"]\npath = "{tmp_path}/answers/a.ndjson"\n'
    daemon = started(programs, Daemon(tmp_path, count + answers + out(tmp_path)))
    send(daemon, log, "als")
    expected = {int(minute): number for minute, number in truth["total"]["per_minute"].items()}
    wait_until(
        lambda: sum(event["n"] for event in events_in(tmp_path / "answers")) >= sum(expected.values()),
        "all windows close",
    )
    assert {event["window_start"] // 60_000: event["n"] for event in events_in(tmp_path / "answers")} == expected


@pytest.mark.parametrize("way", ["collector", "tail"])
def test_loghub(tmp_path: Path, programs: list[Program], way: str) -> None:
    """Every line of seven real logs, each by the codec that fits it."""
    tables = "".join(
        f'[[input]]\ntype = "tail"\nname = "{name}"\npaths = ["{DATA}/loghub/{name}_2k.log"]\nread_from = "start"\n'
        f'follow = false\nproject = "rs"\nident = "log.{name}"\n{codec_line(preset, way)}'
        for name, preset in LOGHUB.items()
    )
    daemon = started(programs, Daemon(tmp_path, out(tmp_path) + (tables if way == "tail" else "")))
    if way == "collector":
        collector = Collector(tmp_path, [daemon.url], tables)
        started(programs, collector)
    wait_until(lambda: len(events_in(tmp_path / "out")) >= 14_000, "all lines arrive")
    for name, preset in LOGHUB.items():
        events = events_in(tmp_path / "out", f"log.{name}.ndjson")
        assert len(events) == 2_000, name
        if preset and way == "tail":
            assert not any(event.get("message", "").endswith("\r") for event in events)
            assert len(events[0]) > 4, (name, events[0])


def codec_line(preset: str, way: str) -> str:
    if way == "collector" or not preset:
        return ""
    return f'codec = {{ type = "regex", preset = "{preset}" }}\nkeep_old = true\n'

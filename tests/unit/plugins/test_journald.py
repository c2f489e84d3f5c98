"""Input `journald` with a program that answers as journalctl does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dpiped.testing import events_in, running, until

PROGRAM = """#!{python}
import json, sys, time
cursor = next((one.partition("=")[2] for one in sys.argv if one.startswith("--after-cursor=")), "c-1")

def tell(begin):
    entries = json.load(open("{entries}"))
    for entry in entries[begin:]:
        print(json.dumps(entry), flush=True)
    return len(entries)

told = tell(-1 if "--lines=1" in sys.argv else int(cursor[1:]) + 1)
print("Cannot open the journal", file=sys.stderr)
if "--follow" in sys.argv:
    open("{entries}.followed", "w").close()
while "--follow" in sys.argv and not {fails}:
    time.sleep(0.05)
    told = tell(told)
sys.exit({fails})
"""


def entry(number: int, **more: Any) -> dict[str, Any]:
    return {
        "__CURSOR": f"c{number}",
        "__REALTIME_TIMESTAMP": str(1_700_000_000_000_000 + number * 1_000),
        "MESSAGE": f"m{number}",
        "PRIORITY": "6",
        "_SYSTEMD_UNIT": "a.service",
        "_PID": "7",
        "_EXTRA": "x",
        **more,
    }


def prepare(folder: Path, entries: list[dict[str, Any]], more: str = "", fails: int = 0) -> str:
    (folder / "entries.new").write_text(json.dumps(entries), encoding="utf-8")
    (folder / "entries.new").rename(folder / "entries.json")
    program = folder / "journalctl"
    text = PROGRAM.format(python=sys.executable, entries=folder / "entries.json", fails=fails)
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return (
        f'[[project]]\nname = "rs"\n[[input]]\ntype = "journald"\ncommand = "{program}"\n{more}\n'
        f'[[output]]\ntype = "file"\npath = "{folder}/out.ndjson"\n'
    )


async def test_entries_come_once_over_restarts(tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    for count in (3, 5):
        toml = prepare(tmp_path, [entry(number) for number in range(count)])
        async with running(toml, tmp_path):
            await until(lambda count=count: len(events_in(out)) >= count)
    events = events_in(out)
    assert [event["message"] for event in events] == ["m0", "m1", "m2", "m3", "m4"]
    first = events[0]
    assert (first["@timestamp"], first["severity"], first["unit"], first["procid"]) == (
        1_700_000_000_000,
        "info",
        "a.service",
        "7",
    )
    assert "_EXTRA" not in first


async def test_from_the_end_nothing_is_left_out_that_came_after_the_very_first_start(tmp_path: Path) -> None:
    out, more = tmp_path / "out.ndjson", 'read_from = "end"'
    async with running(prepare(tmp_path, [entry(0), entry(1)], more), tmp_path) as engine:
        await until(lambda: "c1" in engine.journal.marks.positions.values())
    async with running(prepare(tmp_path, [entry(number) for number in range(4)], more), tmp_path):
        await until(lambda: len(events_in(out)) == 2)
    assert [event["message"] for event in events_in(out)] == ["m2", "m3"]


async def test_from_the_end_of_an_empty_journal_all_is_read(tmp_path: Path) -> None:
    out, more = tmp_path / "out.ndjson", 'read_from = "end"'
    async with running(prepare(tmp_path, [], more), tmp_path):
        await until((tmp_path / "entries.json.followed").exists)
        prepare(tmp_path, [entry(0)], more)
        await until(lambda: len(events_in(out)) == 1)
    assert [event["message"] for event in events_in(out)] == ["m0"]


async def test_bytes_lists_and_all_fields(tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    odd = [entry(0, MESSAGE=[104, 195, 164], _EXTRA=["a", "b"]), entry(1, MESSAGE=None)]
    async with running(prepare(tmp_path, odd, "all_fields = true\nfollow = false"), tmp_path):
        await until(lambda: len(events_in(out)) == 2)
    assert events_in(out)[0]["message"] == "hä"
    assert events_in(out)[0]["_EXTRA"] == "a\nb"
    assert "message" not in events_in(out)[1]


async def test_a_program_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    async with running(prepare(tmp_path, [entry(0)], fails=1), tmp_path) as engine:
        told = "ended with status 1: Cannot open the journal"
        await until(lambda: told in str(engine.inputs[0].report()["last_error"]))
        prepare(tmp_path, [entry(0), entry(1)])
        await until(lambda: len(events_in(out)) == 2)
    assert [event["message"] for event in events_in(out)] == ["m0", "m1"]


async def test_no_such_program(tmp_path: Path) -> None:
    toml = prepare(tmp_path, []).replace("/journalctl", "/absent")
    async with running(toml, tmp_path) as engine:
        await until(lambda: "cannot be run: No such file" in str(engine.inputs[0].report()["last_error"]))


@pytest.mark.parametrize("more", ['units = ["--evil"]', 'matches = ["x"]'])
async def test_what_is_no_match_is_refused(more: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is no unit or FIELD=VALUE"):
        async with running(prepare(tmp_path, [], more), tmp_path):
            raise AssertionError("it started")


@pytest.mark.server
async def test_the_real_journalctl(tmp_path: Path) -> None:
    """DPIPE_JOURNAL_REMOTE names systemd-journal-remote, which makes journals of text."""
    remote = os.environ.get("DPIPE_JOURNAL_REMOTE", "/lib/systemd/systemd-journal-remote")
    if shutil.which("journalctl") is None or not Path(remote).exists():
        pytest.skip("journalctl or systemd-journal-remote is not here")
    now = int(time.time()) * 1_000_000
    exported = "".join(
        f"__REALTIME_TIMESTAMP={now + n}\n__MONOTONIC_TIMESTAMP={n}\n"
        f"_BOOT_ID=0123456789abcdef0123456789abcdef\nPRIORITY=4\nMESSAGE=m{n}\n\n"
        for n in range(5)
    )
    journal = tmp_path / "journal"
    journal.mkdir()
    made = subprocess.run(  # noqa: ASYNC221 - before anything runs
        [remote, f"--output={journal}/a.journal", "-"], input=exported, text=True, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr
    config = f'[[input]]\ntype = "journald"\ndirectory = "{journal}"\n'
    config += f'[[output]]\ntype = "file"\npath = "{tmp_path}/out.ndjson"\n'
    async with running(config, tmp_path):
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 5)
    found = [(event["message"], event["severity"]) for event in events_in(tmp_path / "out.ndjson")]
    assert found == [(f"m{n}", "warning") for n in range(5)]

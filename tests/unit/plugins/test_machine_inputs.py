"""Inputs of the machine itself: containers, the journal of systemd, readings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from dpiped.engine import Engine
from dpiped.errors import FatalPluginError
from dpiped.plugin import PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import events_in, running, until
from plugins.inputs.journald import JournaldConfig, JournaldInput
from plugins.inputs.selfsys import ECS, SelfsysConfig, SelfsysInput

NOW = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
NOW_MS = int(time.time()) * 1000


def piece(text: str, stream: str = "stdout", millis: int = 5) -> str:
    return json.dumps({"log": text, "stream": stream, "time": f"{NOW}.{millis:03d}456789Z"}) + "\n"


def container(folder: Path, number: str = "c0ffee", name: str = "/web") -> Path:
    """The log file of a container."""
    place = folder / "containers" / number
    place.mkdir(parents=True)
    (place / "config.v2.json").write_text(json.dumps({"Name": name, "Config": {"Image": "nginx:1"}}))
    return place / f"{number}-json.log"


def docker(folder: Path, more: str = "") -> str:
    return (
        f'[[input]]\ntype = "docker"\npaths = ["{folder}/containers/*/*-json.log"]\nhost = "h"\n{more}'
        f'[[output]]\ntype = "file"\npath = "{folder}/out.ndjson"\n'
    )


def noted(engine: Engine, name: str, what: str) -> float:
    return float(engine.telemetry.metrics.noted.labels(name, what)._value.get())


def append(file: Path, *lines: str) -> None:
    with file.open("a") as handle:
        handle.write("".join(lines))


# ---- docker --------------------------------------------------------------------------------------------------------
async def test_lines_of_containers(tmp_path: Path) -> None:
    file, out = container(tmp_path), tmp_path / "out.ndjson"
    append(file, piece("one\n"), piece("two\n", "stderr"))
    async with running(docker(tmp_path), tmp_path):
        await until(lambda: len(events_in(out)) == 2)
    one, two = events_in(out)
    known = {"id": "c0ffee", "name": "web", "image": "nginx:1"}
    assert (one["message"], one["stream"], one["container"]) == ("one", "stdout", known)
    assert (one["_host"], one["_source"], two["stream"]) == ("h", str(file), "stderr")
    assert one["@timestamp"] % 1000 == 5


async def test_pieces_of_a_line_are_one_event_over_restarts(tmp_path: Path) -> None:
    file, out = container(tmp_path), tmp_path / "out.ndjson"
    append(file, piece("before\n"), piece("long "), piece("err\n", "stderr"), piece("longer "))
    async with running(docker(tmp_path, "pieces_secs = 600\n"), tmp_path) as engine:
        await until(lambda: engine.inputs[0].report()["files"] == 1)
    assert events_in(out) == []  # a position behind the first pieces would lose them
    append(file, piece("longest\n"), piece("after\n"))
    async with running(docker(tmp_path, "pieces_secs = 600\n"), tmp_path):
        await until(lambda: len(events_in(out)) == 4)
    assert [event["message"] for event in events_in(out)] == ["before", "err", "long longer longest", "after"]


async def test_a_line_without_its_last_piece_comes_after_a_while(tmp_path: Path) -> None:
    file, out = container(tmp_path), tmp_path / "out.ndjson"
    append(file, piece("cut off"))
    async with running(docker(tmp_path, "pieces_secs = 0.1\n"), tmp_path) as engine:
        await until(lambda: len(events_in(out)) == 1)
        assert events_in(out)[0]["message"] == "cut off"
        await until(lambda: noted(engine, "docker", "last_piece_missing") == 1)


async def test_what_docker_never_wrote(tmp_path: Path) -> None:
    file, out = container(tmp_path), tmp_path / "out.ndjson"
    (file.parent / "config.v2.json").write_text("{")
    append(file, "no json\n", piece("good\n"))
    async with running(docker(tmp_path), tmp_path) as engine:
        await until(lambda: len(events_in(out)) == 1)
        await until(lambda: engine.around.deadletters.count == 1)
        await until(lambda: noted(engine, "docker", "not_of_docker") == 1)
    assert events_in(out)[0]["container"] == {"id": "c0ffee"}


# ---- journald ------------------------------------------------------------------------------------------------------
def entry(number: int, **fields: Any) -> str:
    known = {"__CURSOR": f"s={number}", "__REALTIME_TIMESTAMP": str(NOW_MS * 1000 + number), "MESSAGE": f"m{number}"}
    return json.dumps({**known, **fields}) + "\n"


def journalctl(folder: Path, text: str) -> Path:
    """A program that gives these entries behind the cursor it is asked for, and notes how it was called."""
    (folder / "entries").write_text(text)
    program = folder / "journalctl"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {folder}/calls\n'
        'for word in "$@"; do case $word in --after-cursor=*) cursor=${word#*=};; esac; done\n'
        f'if [ -n "$cursor" ]; then sed "1,/\\"$cursor\\"/d" {folder}/entries; else cat {folder}/entries; fi\n'
        "exec sleep 60\n"
    )
    program.chmod(0o755)
    return program


def journald(folder: Path, program: Path, more: str = "") -> str:
    return (
        f'[[input]]\ntype = "journald"\ncommand = "{program}"\nread_from = "start"\n{more}'
        f'[[output]]\ntype = "file"\npath = "{folder}/out.ndjson"\n'
    )


async def test_entries_come_once_over_restarts(tmp_path: Path) -> None:
    out, text = tmp_path / "out.ndjson", entry(1) + entry(2)
    async with running(journald(tmp_path, journalctl(tmp_path, text)), tmp_path):
        await until(lambda: len(events_in(out)) == 2)
    async with running(journald(tmp_path, journalctl(tmp_path, text + entry(3))), tmp_path):
        await until(lambda: len(events_in(out)) == 3)
    assert [event["message"] for event in events_in(out)] == ["m1", "m2", "m3"]
    assert "--after-cursor=s=2" in (tmp_path / "calls").read_text().splitlines()[1]


async def test_fields_of_entries(tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    text = entry(
        1,
        MESSAGE=list(b"caf\xe9"),
        PRIORITY="3",
        SYSLOG_FACILITY="10",
        SYSLOG_IDENTIFIER="sshd",
        _PID="17",
        _HOSTNAME="h7",
        _SYSTEMD_UNIT="ssh.service",
    )
    text += entry(2, MESSAGE=["a", "b"], PRIORITY="99") + "no entry\n" + entry(3, MESSAGE=None)
    async with running(journald(tmp_path, journalctl(tmp_path, text), 'fields = "all"\n'), tmp_path) as engine:
        await until(lambda: len(events_in(out)) == 3)
        await until(lambda: noted(engine, "journald", "not_an_entry") == 1)
    one, two, three = events_in(out)
    assert (one["message"], one["severity"], one["facility"]) == ("caf\ufffd", "err", "authpriv")
    assert (one["appname"], one["procid"], one["host"], one["unit"]) == ("sshd", "17", "h7", "ssh.service")
    assert one["@timestamp"] == NOW_MS
    assert one["journald"]["PRIORITY"] == "3"
    assert (two["message"], "severity" in two, three["message"]) == ("a, b", False, "")


async def test_a_journalctl_that_ends_is_told_and_started_again(tmp_path: Path) -> None:
    program = tmp_path / "journalctl"
    program.write_text("#!/bin/sh\necho 'no such cursor' >&2\nexit 3\n")
    program.chmod(0o755)
    async with running(journald(tmp_path, program), tmp_path) as engine:
        await until(lambda: "ended with status 3: no such cursor" in engine.inputs[0].last_error)


async def test_no_journalctl() -> None:
    plugin = JournaldInput(JournaldConfig(command="/no/such/program"), PluginContext(name="j", telemetry=Telemetry()))
    with pytest.raises(FatalPluginError, match="is this a machine with systemd"):
        await plugin.open()


@pytest.mark.parametrize(
    ("options", "cursor", "expected"),
    [
        ({}, "", ["--lines=0"]),
        ({"read_from": "start"}, "", ["--lines=all"]),
        ({"units": ("a", "b"), "priority": "err"}, "s=1", ["--unit=a", "--unit=b", "--priority=err"]),
        ({"directory": "/j"}, "s=1", ["--directory=/j", "--after-cursor=s=1", "--lines=all"]),
    ],
)
def test_what_journalctl_is_asked(options: dict[str, Any], cursor: str, expected: list[str]) -> None:
    plugin = JournaldInput(JournaldConfig(**options), PluginContext(name="j", telemetry=Telemetry()))
    plugin._cursor = cursor
    command = plugin._command()
    assert command[:3] == ["journalctl", "--output=json", "--follow"]
    assert [word for word in command if word in expected] == expected


@pytest.mark.server
async def test_the_real_journalctl(tmp_path: Path) -> None:
    remote = os.environ.get("DPIPE_JOURNAL_REMOTE", "/lib/systemd/systemd-journal-remote")
    if shutil.which("journalctl") is None or not Path(remote).exists():
        pytest.skip("journalctl or systemd-journal-remote is not here")
    exported = "".join(
        f"__REALTIME_TIMESTAMP={NOW_MS * 1000 + n}\n__MONOTONIC_TIMESTAMP={n}\n"
        f"_BOOT_ID=0123456789abcdef0123456789abcdef\nPRIORITY=4\nMESSAGE=m{n}\n\n"
        for n in range(5)
    )
    journal = tmp_path / "journal"
    journal.mkdir()
    made = subprocess.run(  # noqa: ASYNC221 - before anything runs
        [remote, f"--output={journal}/a.journal", "-"], input=exported, text=True, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr
    config = f'directory = "{journal}"\n'
    out = tmp_path / "out.ndjson"
    async with running(journald(tmp_path, Path("journalctl"), config), tmp_path):
        await until(lambda: len(events_in(out)) == 5)
    assert [(event["message"], event["severity"]) for event in events_in(out)] == [
        (f"m{n}", "warning") for n in range(5)
    ]


# ---- selfsys -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("names", ["plain", "ecs"])
async def test_readings(names: str, tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    config = (
        f'[[input]]\ntype = "selfsys"\nevery_secs = 0.1\nnames = "{names}"\n[[output]]\ntype = "file"\npath = "{out}"\n'
    )
    async with running(config, tmp_path):
        await until(lambda: len(events_in(out)) > 12)
    events = events_in(out)
    if names == "plain":
        kinds = {event["kind"]: event for event in events}
        assert {"cpu", "load", "memory", "network", "process"} <= set(kinds)
        assert 0 <= kinds["cpu"]["percent"] <= 100
        assert kinds["memory"]["total_bytes"] > kinds["memory"]["used_bytes"] > 0
        assert kinds["process"]["rss_bytes"] > 1 << 20
    else:
        kinds = {event["metricset"]["name"]: event for event in events}
        assert 0 <= kinds["cpu"]["system"]["cpu"]["total"]["norm"]["pct"] <= 1
        assert kinds["process"]["process"]["memory"]["rss"]["bytes"] > 1 << 20


def test_every_name_has_one_in_the_schema() -> None:
    plugin = SelfsysInput(SelfsysConfig(), PluginContext(name="s", telemetry=Telemetry()))
    plugin._process = __import__("psutil").Process()
    events = [json.loads(line) for line in plugin._read().splitlines()]
    assert {name for event in events for name in event} - {"@timestamp"} <= set(ECS)
    assert len(set(ECS.values())) == len(ECS)

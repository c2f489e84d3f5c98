"""Signals and exit codes of the real process."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from .conftest import Daemon, Program, events_in, free_port, started, wait_until


def daemon(folder: Path, programs: list[Program], more: str = "") -> Daemon:
    return started(programs, Daemon(folder, f'[[output]]\ntype = "file"\npath = "{folder}/out/a.ndjson"\n{more}'))


def test_usr1_writes_the_state_of_every_plugin(tmp_path: Path, programs: list[Program]) -> None:
    made = daemon(tmp_path, programs)
    made.signal(signal.SIGUSR1)
    wait_until(lambda: made.text().count(" runner ") == 2, "a line for the input and one for the output")
    assert "plugin=http" in made.text()
    assert "plugin=file" in made.text()


def test_term_delivers_and_ends_with_0(tmp_path: Path, programs: list[Program]) -> None:
    made = daemon(tmp_path, programs)
    urllib.request.urlopen(f"{made.url}/ingest/rs/app", data=b'{"n":1}', timeout=20).close()
    assert made.stop() == 0
    assert [event["n"] for event in events_in(tmp_path / "out")] == [1]


def test_hup_reloads(tmp_path: Path, programs: list[Program]) -> None:
    made = daemon(tmp_path, programs)
    config = tmp_path / "dpiped.toml"
    config.write_text(
        config.read_text() + f'[[output]]\ntype = "file"\nname = "two"\npath = "{tmp_path}/two/a.ndjson"\n'
    )
    made.signal(signal.SIGHUP)
    wait_until(lambda: "two added" in made.text(), "the reload is told")
    urllib.request.urlopen(f"{made.url}/ingest/rs/app", data=b'{"n":1}', timeout=20).close()
    wait_until(lambda: len(events_in(tmp_path / "two")) == 1, "the new output gets the event")
    config.write_text(config.read_text().replace('name = "two"', 'nme = "two"'))
    made.signal(signal.SIGHUP)
    wait_until(lambda: "the old config stays" in made.text(), "the mistake is told")
    assert made.running


def test_a_hup_before_it_is_ready_does_not_end_it(tmp_path: Path, programs: list[Program]) -> None:
    made = Daemon(tmp_path, '[[output]]\ntype = "discard"\n')
    programs.append(made)
    Program.start(made)
    wait_until(lambda: made.ignores(signal.SIGHUP), "its first line has run")
    made.signal(signal.SIGHUP)
    wait_until(made.ready, "it gets ready")


def test_term_ends_a_batch_that_cannot_be_delivered(tmp_path: Path, programs: list[Program]) -> None:
    config = tmp_path / "batch.toml"
    config.write_text(
        f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{tmp_path}/data"\ndrain_timeout_secs = 0.1\n'
        f'[[input]]\ntype = "demo"\ncount = 10\n[[output]]\ntype = "http"\nurl = "http://127.0.0.1:{free_port()}"\n'
    )
    made = Program(tmp_path, "batch", [sys.executable, "-m", "dpiped", "run", "-c", str(config)])
    programs.append(made)
    made.start()
    wait_until(lambda: "delivery failed" in made.text(), "the input has ended, and nobody takes its events")
    assert made.stop() == 0
    assert "stopping before everything was delivered" in made.text()


def test_a_port_in_use_is_one_line_and_1(tmp_path: Path, programs: list[Program]) -> None:
    first = daemon(tmp_path, programs)
    (tmp_path / "b").mkdir()
    second = Daemon(tmp_path / "b", '[[output]]\ntype = "discard"\n')
    file = tmp_path / "b" / "dpiped.toml"
    file.write_text(file.read_text().replace(f"127.0.0.1:{second.ingest}", f"127.0.0.1:{first.ingest}"))
    programs.append(second)
    Program.start(second)
    wait_until(lambda: not second.running, "it ends")
    assert second.status == 1
    errors = [line for line in second.text().splitlines() if "ERROR" in line]
    assert len(errors) == 1
    assert "in use" in errors[0]
    assert "Traceback" not in second.text()


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_are_empty_ones(tmp_path: Path, closed: str) -> None:
    config = tmp_path / "stdin.toml"
    config.write_text(
        f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{tmp_path}/data"\n[[project]]\nname = "rs"\n'
        '[[input]]\ntype = "stdin"\n[[output]]\ntype = "console"\n'
    )
    script = f'exec "$0" "$@" {closed}'
    daemon_command = [sys.executable, "-m", "dpiped", "run", "-c", str(config)]
    send_command = [sys.executable, "-m", "collector", "send", "--ident", "app"]
    for command in (daemon_command, send_command):
        assert subprocess.run(["sh", "-c", script, *command], timeout=50, check=False).returncode == 0

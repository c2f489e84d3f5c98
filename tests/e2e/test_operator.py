"""The operator's commands as real processes: beside a live daemon, with the lock held, with a damaged segment."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from .conftest import Daemon, Program, events_in, started, wait_until

pytestmark = pytest.mark.slow
KEEP = '[journal]\nkeep_bytes = "1GiB"\nmax_bytes = "2MiB"\n'
COUNT = """
[[filter]]
type = "aggregate"
name = "traffic"
window_secs = 1
lateness_secs = 0
idle_secs = 1
max_ahead_secs = 1e9
metrics = {{ hits = {{ op = "count" }} }}
[[output]]
type = "file"
name = "stats"
match = ["traffic"]
path = "{out}/stats.ndjson"
"""
FILE = '[[output]]\ntype = "file"\nname = "archive"\nmetadata = false\npath = "{out}/{{ident}}.ndjson"\n'


def dpiped(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dpiped", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def post(daemon: Daemon, ident: str, body: bytes) -> None:
    urllib.request.urlopen(f"{daemon.url}/ingest/rs/{ident}", data=body, timeout=20).close()


def start(folder: Path, programs: list[Program], tables: str, journal: str = KEEP) -> Daemon:
    return started(programs, Daemon(folder, tables.format(out=folder / "out"), journal=journal))


def test_the_journal_beside_a_daemon_and_after_it(tmp_path: Path, programs: list[Program]) -> None:
    daemon = start(tmp_path, programs, FILE)
    data_dir, config = tmp_path / "dpiped", tmp_path / "dpiped.toml"
    for number in range(20):
        post(daemon, "web", b'{"@timestamp":%d,"n":%d}\n' % (1_700_000_000_000 + number, number))
    wait_until(lambda: len(events_in(tmp_path / "out")) == 20, "all is delivered")

    assert dpiped("journal", "ls", "--data-dir", data_dir).returncode == 0
    assert dpiped("journal", "verify", "--data-dir", data_dir).returncode == 0
    exported = dpiped("journal", "export", "-c", config, "--ident", "web", "--from", "-1h")
    assert [json.loads(line)["n"] for line in exported.stdout.splitlines()] == list(range(20))
    stat = dpiped("journal", "stat", "-c", config)
    assert ["rs", "web", "input", "20", "20"] in [line.split()[:5] for line in stat.stdout.splitlines()]
    assert ["archive", "output", "file"] in [line.split()[:3] for line in stat.stdout.splitlines()]
    cursors = dpiped("journal", "cursors", "--data-dir", data_dir, "--admin", f"127.0.0.1:{daemon.admin}")
    assert [line.split()[0] for line in cursors.stdout.splitlines()] == ["runner", "archive"]
    for change in (("drop", "--before", "5", "--yes"), ("cursors", "set", "archive", "earliest")):
        refused = dpiped("journal", *change, "-c", config)
        assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
        assert "is in use by process" in refused.stderr

    daemon.kill()
    changed = dpiped("journal", "cursors", "set", "archive", "15", "-c", config)
    assert (changed.returncode, "generation 2" in changed.stdout) == (0, True)
    daemon.start()
    wait_until(lambda: len(events_in(tmp_path / "out")) == 25, "the output gets the last five again")
    assert [event["n"] for event in events_in(tmp_path / "out")] == [*range(20), *range(15, 20)]
    assert daemon.stop() == 0

    (segment,) = sorted((data_dir / "journal").glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[data.index(b'"n":7')] ^= 1
    segment.write_bytes(data)
    verified = dpiped("journal", "verify", "--data-dir", data_dir)
    assert verified.returncode == 1
    assert "wrong checksum" in verified.stdout
    exported = dpiped("journal", "export", "--data-dir", data_dir)
    assert (exported.returncode, exported.stdout.count("\n")) == (1, 19)


def test_dropped_packs_are_counted_by_the_next_daemon(tmp_path: Path, programs: list[Program]) -> None:
    waiting = FILE.replace('name = "archive"', 'name = "archive"\ndisabled = true')
    daemon = start(tmp_path, programs, waiting)
    for number in range(40):
        pad = b"".join(b"%x" % (number * 7919 + n) for n in range(8000))
        post(daemon, "web", b'{"n":%d,"pad":"%s"}\n' % (number, pad))
    config = tmp_path / "dpiped.toml"
    assert daemon.stop() == 0
    assert len(list((tmp_path / "dpiped/journal").glob("*.seg"))) > 1
    told = dpiped("journal", "drop", "--before", "-0s", "-c", config)
    lost = int(told.stdout.partition("not read by output archive: ")[2].partition(" ")[0])
    assert 0 < lost < 40
    assert dpiped("journal", "drop", "--before", "-0s", "-c", config, "--yes").stdout.splitlines()[-1] == "dropped"
    daemon.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin}/metrics", timeout=10) as answer:
        assert f'dpipe_lost_packs_total{{place="archive"}} {float(lost)}' in answer.read().decode()
    assert "were given up by a command" in daemon.text()


def test_dead_letters_by_command(tmp_path: Path, programs: list[Program]) -> None:
    daemon = start(tmp_path, programs, FILE)
    config, data_dir = tmp_path / "dpiped.toml", tmp_path / "dpiped"
    post(daemon, "web", b'{"n":1}\nplain\n{bad\n')
    listed = dpiped("deadletter", "ls", "-c", config, "--ident", "web", "--json")
    letters = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [letter["raw"] for letter in letters] == ["plain", "{bad"]
    shown = dpiped("deadletter", "show", letters[0]["cause"], "-c", config)
    assert json.loads(shown.stdout)["raw"] == "plain"
    for action in ("show", "retry", "drop"):
        absent = dpiped("deadletter", action, letters[0]["cause"], "nothing", "-c", config)
        assert (absent.returncode, absent.stderr.count("\n")) == (1, 1)
        assert "there is no dead letter nothing" in absent.stderr
    elsewhere = dpiped("deadletter", "ls", "--admin", daemon.url)
    assert (elsewhere.returncode, elsewhere.stderr.count("\n")) == (1, 1)
    assert "this is no admin API, --admin names another" in elsewhere.stderr
    tried = dpiped("deadletter", "retry", "--plugin", "http", "-c", config)
    assert (tried.returncode, tried.stdout.splitlines()[0]) == (1, "0 events sent again, 2 letters stay")
    assert daemon.stop() == 0

    assert "2 shown of 2" in dpiped("deadletter", "ls", "--data-dir", data_dir).stdout
    refused = dpiped("deadletter", "retry", "--all", "-c", config)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "no daemon runs on" in refused.stderr
    dropped = dpiped("deadletter", "drop", letters[1]["cause"], "-c", config)
    assert dropped.stdout == "1 letters dropped\n"
    config.write_text(config.read_text().replace("keep_old = true", 'keep_old = true\ncodec = "raw"'))
    daemon.start()
    tried = dpiped("deadletter", "retry", "--since", "-1h", "--admin", f"http://127.0.0.1:{daemon.admin}")
    assert (tried.returncode, tried.stdout) == (0, "1 events sent again, 0 letters stay\n")
    wait_until(lambda: len(events_in(tmp_path / "out")) == 2, "it is delivered")
    assert events_in(tmp_path / "out")[1]["message"] == "plain"
    assert dpiped("deadletter", "drop", "-c", config).returncode == 2


def test_a_replay_beside_the_daemon(tmp_path: Path, programs: list[Program]) -> None:
    daemon = start(tmp_path, programs, COUNT)
    for number in range(30):
        post(daemon, "web", b'{"@timestamp":%d}\n' % (1_700_000_000_000 + 400 * number))
    post(daemon, "web", b'{"@timestamp":1700000600000}\n')
    stats = tmp_path / "out/stats.ndjson"
    wait_until(lambda: stats.exists() and b"1700000601000" in stats.read_bytes(), "the idle window is closed")
    new = tmp_path / "new.toml"
    new.write_text('[[project]]\nname = "rs"\n' + COUNT.format(out=tmp_path / "new"))
    done = dpiped("replay", "-c", new, "--data-dir", tmp_path / "dpiped")
    assert done.returncode == 0, done.stderr
    assert "filter traffic: " in done.stderr
    assert "31 events" in done.stderr
    assert (tmp_path / "new/stats.ndjson").read_bytes() == stats.read_bytes()
    assert daemon.running
    again = dpiped("replay", "-c", new, "--data-dir", tmp_path / "dpiped", "--work-dir", tmp_path / "dpiped")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    wrong = dpiped("replay", "-c", new, "--data-dir", tmp_path / "nothing")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)


def test_a_replay_that_is_killed_again_and_again_is_exact(tmp_path: Path, programs: list[Program]) -> None:
    daemon = start(tmp_path, programs, '[[output]]\ntype = "discard"\n', "[journal]\nkeep_secs = 1e6\n")
    for number in range(60):
        at = [1_700_000_000_000 + number * 997 + n % 500 for n in range(5_000)]
        lines = [b'{"@timestamp":%d,"n":%d,"x":"%x"}' % (at[n], n, n * 2654435761 % 2**32) for n in range(5_000)]
        post(daemon, "web", b"\n".join(lines))
    assert daemon.stop() == 0
    for name in ("whole", "cut"):
        tables = (COUNT + FILE + 'match = ["web"]\n').format(out=tmp_path / name)
        (tmp_path / f"{name}.toml").write_text("[engine]\nsnapshot_interval_secs = 0.02\n" + tables)
    common = ("--data-dir", str(tmp_path / "dpiped"))
    assert dpiped("replay", "-c", tmp_path / "whole.toml", *common).returncode == 0
    work = tmp_path / "work"
    command = ["replay", "-c", str(tmp_path / "cut.toml"), *common, "--work-dir", str(work)]
    program = Program(tmp_path, "replay", [sys.executable, "-m", "dpiped", *command])
    programs.append(program)
    kills, out, whole = 0, tmp_path / "cut/web.ndjson", (tmp_path / "whole/web.ndjson").stat().st_size

    def is_at(size: int) -> bool:
        return not program.running or (out.exists() and out.stat().st_size >= size)

    for share in (1, 2, 3, 4, 5):
        program.start()
        wait_until(partial(is_at, whole * share // 6), "it gets so far")
        kills += program.running
        program.kill()
    program.start()
    wait_until(lambda: not program.running, "it ends")
    assert program.status == 0
    assert kills > 1
    for name in ("web.ndjson", "stats.ndjson"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(events_in(tmp_path / "cut", "web.ndjson")) == 300_000

"""Real log shippers against a real daemon: syslog-ng, rsyslog, logger, curl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Daemon, Program, events_in, free_port, started, wait_until

SYSLOG_NG = os.environ.get("DPIPE_SYSLOG_NG_ROOT", "")
RSYSLOG = os.environ.get("DPIPE_RSYSLOG_ROOT", "")
needs_syslog_ng = pytest.mark.skipif(not SYSLOG_NG, reason="DPIPE_SYSLOG_NG_ROOT does not name an unpacked syslog-ng")
needs_rsyslog = pytest.mark.skipif(not RSYSLOG, reason="DPIPE_RSYSLOG_ROOT does not name an unpacked rsyslog")
needs_logger = pytest.mark.skipif(shutil.which("logger") is None, reason="logger is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]
AMOUNT = 500


def libraries(root: str) -> dict[str, str]:
    places = (
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/syslog-ng",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/rsyslog",
    )
    return {"LD_LIBRARY_PATH": ":".join(f"{root}/{place}" for place in places)}


def daemon(folder: Path, programs: list[Program], inputs: str = "") -> Daemon:
    out = f'[[output]]\ntype = "file"\npath = "{folder}/out/{{ident}}.ndjson"\n'
    return started(programs, Daemon(folder, inputs + out))


def syslog_input(transport: str, place: str) -> str:
    key = "path" if transport.startswith("unix") else "listen"
    return (
        f'[[input]]\ntype = "syslog"\nname = "net"\ntransport = "{transport}"\n{key} = "{place}"\nproject = "rs"\n'
        'ident = "net"\n'
    )


def log_file(folder: Path, amount: int = AMOUNT) -> Path:
    file = folder / "in.log"
    file.write_text(
        "".join(f"<13>Jan  9 10:00:{n % 60:02d} web-1 app[{n}]: message number {n}\n" for n in range(amount))
    )
    return file


def syslog_ng(folder: Path, programs: list[Program], config: str) -> Program:
    file = folder / "sng.conf"
    file.write_text("@version: 3.38\n" + config)
    root = SYSLOG_NG
    made = Program(
        folder,
        "syslog-ng",
        [
            f"{root}/usr/sbin/syslog-ng",
            "-F",
            "--no-caps",
            f"--module-path={root}/usr/lib/syslog-ng/3.38",
            "-f",
            str(file),
            "-R",
            str(folder / "sng.persist"),
            "-c",
            str(folder / "sng.ctl"),
            "-p",
            str(folder / "sng.pid"),
        ],
        libraries(root),
    )
    return started(programs, made)


def rsyslog(folder: Path, programs: list[Program], config: str) -> Program:
    file = folder / "rsyslog.conf"
    (folder / "rs-work").mkdir()
    file.write_text(f'global(workDirectory="{folder}/rs-work")\n{config}')
    made = Program(
        folder,
        "rsyslog",
        [
            f"{RSYSLOG}/usr/sbin/rsyslogd",
            "-n",
            "-iNONE",
            "-f",
            str(file),
            "-M",
            f"{RSYSLOG}/usr/lib/x86_64-linux-gnu/rsyslog",
        ],
        libraries(RSYSLOG),
    )
    return started(programs, made)


def numbers(folder: Path) -> list[int]:
    """The numbers of the messages that came, sorted."""
    return sorted(int(event["message"].rsplit(" ", 1)[1]) for event in events_in(folder / "out"))


@needs_syslog_ng
def test_syslog_ng_http_over_a_restart_of_the_daemon(tmp_path: Path, programs: list[Program]) -> None:
    """Without a batch id it is at least once: all numbers are there."""
    made = daemon(tmp_path, programs)
    source = log_file(tmp_path)
    syslog_ng(
        tmp_path,
        programs,
        f"""
source s_file {{ file("{source}" follow-freq(1) flags(no-multi-line)); }};
destination d_http {{ http(url("{made.url}/ingest/rs/web") method("POST")
    body("$(format-json --scope rfc5424 --key ISODATE --pair message=$MESSAGE)") delimiter("\\n") batch-lines(50)
    batch-timeout(200) workers(1) timeout(10) time-reopen(1)); }};
log {{ source(s_file); destination(d_http); flags(flow-control); }};
""",
    )
    wait_until(lambda: len(events_in(tmp_path / "out")) >= 100, "first batches arrive")
    made.kill()
    made.start()
    with source.open("a") as handle:
        handle.writelines(
            f"<13>Jan  9 10:00:00 web-1 app[1]: message number {n}\n" for n in range(AMOUNT, AMOUNT + 100)
        )
    wait_until(lambda: set(numbers(tmp_path)) == set(range(AMOUNT + 100)), "all messages arrive")


@needs_syslog_ng
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_syslog_ng_network(tmp_path: Path, programs: list[Program], transport: str) -> None:
    port = free_port()
    daemon(tmp_path, programs, syslog_input(transport, f"127.0.0.1:{port}"))
    source = log_file(tmp_path)
    syslog_ng(
        tmp_path,
        programs,
        f"""
source s_file {{ file("{source}" follow-freq(1)); }};
destination d_net {{ syslog("127.0.0.1" port({port}) transport("{transport}")); }};
log {{ source(s_file); destination(d_net); flags(flow-control); }};
""",
    )
    wait_until(lambda: len(events_in(tmp_path / "out")) >= AMOUNT, "all messages arrive")
    assert numbers(tmp_path) == list(range(AMOUNT))
    assert {event["appname"] for event in events_in(tmp_path / "out")} == {"app"}


@needs_syslog_ng
def test_syslog_ng_program_with_our_send(tmp_path: Path, programs: list[Program]) -> None:
    made = daemon(tmp_path, programs)
    source = log_file(tmp_path)
    send = f"{sys.executable} -m collector send --endpoint {made.url} --project rs --ident web --codec raw"
    syslog_ng(
        tmp_path,
        programs,
        f"""
source s_file {{ file("{source}" follow-freq(1)); }};
destination d_send {{ program("exec {send}" template("$MESSAGE\\n")); }};
log {{ source(s_file); destination(d_send); flags(flow-control); }};
""",
    )
    wait_until(lambda: len(events_in(tmp_path / "out")) >= AMOUNT, "all messages arrive")
    assert numbers(tmp_path) == list(range(AMOUNT))


@needs_rsyslog
@pytest.mark.parametrize("framing", ["octet-counted", "traditional"])
def test_rsyslog_omfwd(tmp_path: Path, programs: list[Program], framing: str) -> None:
    port = free_port()
    daemon(tmp_path, programs, syslog_input("tcp", f"127.0.0.1:{port}"))
    source = log_file(tmp_path)
    rsyslog(
        tmp_path,
        programs,
        f"""
module(load="imfile")
input(type="imfile" File="{source}" Tag="app:" reopenOnTruncate="on")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="{framing}"
       template="RSYSLOG_SyslogProtocol23Format" action.resumeRetryCount="-1")
""",
    )
    wait_until(lambda: len(events_in(tmp_path / "out")) >= AMOUNT, "all messages arrive")
    assert [n for n in numbers(tmp_path) if n < AMOUNT] == list(range(AMOUNT))


@needs_rsyslog
def test_rsyslog_omprog_confirmed(tmp_path: Path, programs: list[Program]) -> None:
    made = daemon(tmp_path, programs)
    source = log_file(tmp_path, 60)
    send = f"{sys.executable} -m collector send --confirm --endpoint {made.url} --project rs --ident web --codec raw"
    rsyslog(
        tmp_path,
        programs,
        f"""
module(load="imfile")
module(load="omprog")
template(name="line" type="string" string="%msg%\\n")
input(type="imfile" File="{source}" Tag="app:" ruleset="out")
ruleset(name="out") {{ action(type="omprog" binary="{send}" template="line" confirmMessages="on") }}
""",
    )
    wait_until(lambda: len(events_in(tmp_path / "out")) >= 60, "all messages arrive")
    assert numbers(tmp_path) == list(range(60))


@needs_logger
@pytest.mark.parametrize("transport", ["tcp", "udp", "unix", "unixgram"])
def test_logger(tmp_path: Path, programs: list[Program], transport: str) -> None:
    port, path = free_port(), tmp_path / "log.sock"
    place = str(path) if transport.startswith("unix") else f"127.0.0.1:{port}"
    daemon(tmp_path, programs, syslog_input(transport, place))
    how = {
        "tcp": ["-n", "127.0.0.1", "-P", str(port), "-T", "--octet-count", "--rfc5424"],
        "udp": ["-n", "127.0.0.1", "-P", str(port), "-d"],
        "unix": ["-u", str(path), "-T"],
        "unixgram": ["-u", str(path), "-d"],
    }[transport]
    lines = "".join(f"message number {n}\n" for n in range(100))
    subprocess.run(["logger", *how, "-t", "web", "-p", "auth.crit"], input=lines.encode(), check=True, timeout=30)
    wait_until(lambda: len(events_in(tmp_path / "out")) >= 100, "all messages arrive")
    events = events_in(tmp_path / "out")
    assert numbers(tmp_path) == list(range(100))
    assert {(event["appname"], event["facility"], event["severity"]) for event in events} == {("web", "auth", "crit")}


@needs_curl
def test_curl(tmp_path: Path, programs: list[Program]) -> None:
    made = daemon(tmp_path, programs)
    body = "".join(f'{{"message":"message number {n}"}}\n' for n in range(AMOUNT))
    for how in (["--data-binary", "@-"], ["-T", "-"], ["-H", "Expect: 100-continue", "--data-binary", "@-"]):
        subprocess.run(
            ["curl", "-sS", "--fail", *how, f"{made.url}/ingest/rs/app"],
            input=body.encode(),
            check=True,
            timeout=30,
            capture_output=True,
        )
    wait_until(lambda: len(events_in(tmp_path / "out")) >= 3 * AMOUNT, "all messages arrive")
    assert numbers(tmp_path) == sorted(3 * list(range(AMOUNT)))

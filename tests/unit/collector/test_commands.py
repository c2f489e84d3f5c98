"""The command line: config errors, `check`, `send`, `send --confirm`, status pages, naming."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from collector import collector as collector_module
from collector.cli import main
from collector.collector import Collector
from collector.config import CollectorConfig, Config, StdinInput, load
from collector.confirm import ConfirmFeed
from collector.naming import ident_of, logname
from collector.sender import Pauses, Verdict, judge
from dpiped.config.base import is_ident
from dpiped.errors import ConfigError
from dpiped.exit_code import ExitCode
from dpiped.sources import tail
from dpiped.telemetry import Telemetry
from dpiped.testing import until

GOOD = """
[collector]
endpoints = ["http://127.0.0.1:9800"]
token = "${env:DPIPE_TOKEN}"

[[input]]
type = "tail"
paths = ["/var/log/nginx/*.log"]
ident = "rs.{logname}"
multiline = { start = '^\\d', timeout_secs = 2 }
"""


def test_a_command_that_is_not_known(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["snd"])
    assert caught.value.code == ExitCode.CONFIG
    assert 'dpipe-collector: command "snd" is not known; did you mean "send"?' in capsys.readouterr().err


def test_config_is_read(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(GOOD)
    config = load(path, {"DPIPE_TOKEN": "abc"})
    assert config.collector.token.get_secret_value() == "abc"
    assert (config.inputs[0].name, config.inputs[0].codec) == ("tail", "raw")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("endpoints", "endpoint"), 'did you mean "endpoints"'),
        (("paths", "pathes"), 'did you mean "paths"'),
        (('"tail"', '"tial"'), 'did you mean "tail"'),
        (("[[input]]", '[[input]]\ncodec = "rawww"'), 'did you mean "raw"'),
        (("[[input]]", '[[input]]\ncodec = { type = "csv" }'), "the http input of the daemon"),
        (("{logname}", "{name}"), "{stem}, {logname} or {dir}"),
        (("^\\d", "(?=x)"), "pattern"),
        (("http://127.0.0.1:9800", "127.0.0.1:9800"), "URL of a daemon"),
        ((":9800", ":99999"), "URL of a daemon"),
        ((":9800", ":0"), "URL of a daemon"),
        (("[collector]", "[colector]"), 'did you mean "collector"'),
        (("[collector]", f'[collector]\nhost = "{"h" * 256}"'), "at most 255 characters"),
        (("[[input]]", '[[input]]\nhost = "a\\nb"'), "none that cannot be printed"),
    ],
)
def test_config_errors_name_place_and_remedy(tmp_path, change, complaint):
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigError) as caught:
        load(path, {"DPIPE_TOKEN": "abc"})
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--batch-secs", value) for value in ("-1", "0", "nan", "inf", "x")),
        *(("--timeout-secs", value) for value in ("-1", "nan", "1e300")),
        *(("--endpoint", value) for value in ("127.0.0.1:9800", "http://h:99999", "http://h:0", "http://u:secret@h")),
    ],
)
def test_numbers_and_addresses_that_are_none(capsys, option, value):
    with pytest.raises(SystemExit) as caught:
        main(["send", "--ident", "a", f"{option}={value}"])
    error = capsys.readouterr().err
    assert (caught.value.code, error.count("\n"), "secret" in error) == (2, 1, False)


def test_check_tells_and_sets_the_status(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DPIPE_TOKEN", "x")
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("ident", "idnet"))
    assert main(["check", str(good)]) == 0
    assert "1 input; sends to http://127.0.0.1:9800" in capsys.readouterr().out
    assert main(["check", str(good), str(bad)]) == 2
    assert 'did you mean "ident"' in capsys.readouterr().err


def test_send_arguments_are_checked(capsys, tmp_path):
    assert main(["send", "--ident", "no good"]) == 2
    assert "ident" in capsys.readouterr().err
    assert main(["send", "--ident", "a.b", "--host", "h" * 256]) == 2
    assert "--host: " in capsys.readouterr().err
    assert main(["send", "--ident", "a.b", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "ident"), [(b"app.log", "rs.app"), (b"a[1]\xff.log", "rs.a_1_xff")])
async def test_send_command_ships_files(kit, name, ident):
    log = kit.folder / os.fsdecode(name)
    log.write_text("1\n2\n3")
    async with kit.Sink() as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "collector",
            "send",
            "--endpoint",
            sink.url,
            "--ident",
            "rs.{stem}",
            str(log),
            stderr=subprocess.PIPE,
        )
        _, errors = await process.communicate()
    assert (process.returncode, errors, sink.lines) == (0, b"", ["1", "2", "3"])
    assert sink.frames[0].head.ident == ident


@pytest.mark.parametrize("words", ["send - <$FILE", "send <(cat $FILE)", "send /dev/stdin <$FILE"])
async def test_send_takes_a_pipe_as_its_input(kit, words):
    kit.log.write_text("1\n2\n3")
    async with kit.Sink() as sink:
        command = f"$PYTHON -m collector {words} ".replace("send", f"send --endpoint {sink.url} --ident rs.c")
        environ = {**os.environ, "FILE": str(kit.log), "PYTHON": sys.executable}
        process = await asyncio.create_subprocess_exec("bash", "-c", command, env=environ, stderr=subprocess.PIPE)
        _, errors = await process.communicate()
    assert (process.returncode, errors, sink.lines) == (0, b"", ["1", "2", "3"])


def test_send_refuses_what_it_would_leave_out(capsys, tmp_path):
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("1\n")
    for names, complaint in ((["pipe"], "is a folder: name the files in it"), (["file", "fifo"], "is no file")):
        assert main(["send", "--ident", "rs.c", *(str(tmp_path / name) for name in names)]) == ExitCode.FAILED
        assert complaint in capsys.readouterr().err


def test_a_token_on_the_command_line_is_no_variable_and_is_not_shown(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["send", "--ident", "rs.c", "--token", "geheim-9"])
    assert caught.value.code == ExitCode.CONFIG
    told = capsys.readouterr().err
    assert "unrecognized arguments: --token" in told
    assert "geheim" not in told


async def test_lines_that_were_cut_are_told(kit):
    kit.log.write_text("x" * (2 << 20))
    async with kit.Sink() as sink:
        words = ["send", "--endpoint", sink.url, "--ident", "rs.c", str(kit.log)]
        command = [sys.executable, "-m", "collector", *words]
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        _, errors = await process.communicate()
    assert process.returncode == 0
    assert b"lines were longer than max_line_bytes" in errors


async def test_confirm_answers_each_line_when_it_is_stored(kit):
    reading, feed_in = os.pipe()
    read_answers, answers = os.pipe()
    source = StdinInput(type="stdin", name="send", ident="rs.c", spool="memory")
    async with kit.Sink(503) as sink:
        settings = CollectorConfig(endpoints=(sink.url,), batch_secs=0.001)
        collector = Collector(
            Config(settings, (source,)),
            Telemetry(),
            stored=False,
            pauses=lambda: Pauses(0.001, 0.005),
            make_feeds=lambda checkpoint, host: [ConfirmFeed(source, checkpoint, host, reading, answers)],
        )
        task = asyncio.create_task(collector.run())
        assert await asyncio.to_thread(os.read, read_answers, 100) == b"OK\n"
        os.write(feed_in, b"one\n")
        assert await asyncio.to_thread(os.read, read_answers, 100) == b"OK\n"
        assert sink.lines == ["one"]
        os.write(feed_in, b"BEGIN TRANSACTION\ntwo\nthree\nCOMMIT TRANSACTION\n")
        os.close(feed_in)
        assert await task
        assert await asyncio.to_thread(os.read, read_answers, 100) == b"OK\nDEFER_COMMIT\nDEFER_COMMIT\nOK\n"
    assert sink.lines == ["one", "two", "three"]
    for descriptor in (reading, read_answers, answers):
        os.close(descriptor)


@pytest.mark.parametrize("confirm", [(), ("--confirm",)])
async def test_send_gives_up_when_its_input_and_its_parent_are_gone(kit, confirm):
    async with kit.Sink(*[401] * 1000) as sink:
        script = 'echo one | "$@" >/dev/null 2>&1 & echo $!; read forever'
        words = [sys.executable, "-m", "collector", "send", *confirm, "--endpoint", sink.url, "--ident", "rs.c"]
        parent = await asyncio.create_subprocess_exec("sh", "-c", script, "sh", *words, stdin=-1, stdout=-1)
        orphan = os.pidfd_open(int(await parent.stdout.readline()))
        try:
            await until(lambda: bool(sink.requests))
            parent.kill()
            await parent.wait()
            ended = select.poll()  # `select` takes no descriptor above 1,023
            ended.register(orphan, select.POLLIN)
            await until(lambda: bool(ended.poll(0)))
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(orphan, signal.SIGKILL)
            os.close(orphan)


@pytest.mark.parametrize("confirm", [(), ("--confirm",)])
async def test_send_gives_up_some_time_after_the_end_of_its_input(kit, confirm):
    async with kit.Sink(*[401] * 1000) as sink:
        words = ["send", *confirm, "--endpoint", sink.url, "--ident", "rs.c", "--timeout-secs", "0.5"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "collector", *words, stdin=-1, stdout=-1, stderr=-1
        )
        async with asyncio.timeout(20):
            _, errors = await process.communicate(b"one\n")
    assert process.returncode == 1
    assert "gave up 0.5 seconds after the end of standard input" in errors.decode().splitlines()[-1]


def test_send_refuses_a_file_that_is_compressed_otherwise_than_by_gzip(kit, capsys):
    file = kit.folder / "a.log.zst"
    file.write_bytes(b"\x28\xb5\x2f\xfd")
    assert main(["send", "--ident", "rs.c", str(file)]) == 1
    assert f"{file} is compressed (.zst), and only gzip is read: unpack it" in capsys.readouterr().err


async def test_a_pattern_that_matches_nothing_is_told_once(kit, monkeypatch, caplog):
    monkeypatch.setattr(tail, "UNMATCHED_SECS", 0.0)
    monkeypatch.setattr(collector_module, "SAVE_EVERY_SECS", 0.01)
    collector = kit.build(kit.folder, "http://127.0.0.1:1")
    task = asyncio.create_task(collector.run())
    await kit.eventually(lambda: "matches no file" in caplog.text)
    (report,) = collector.report()["inputs"]
    assert report["unmatched"] == [f"{kit.folder}/logs/*.log"]
    await asyncio.sleep(0.1)  # for more, which must not come
    assert caplog.text.count("matches no file") == 1
    collector.stop()
    await task


async def test_status_pages(kit):
    kit.log.write_text("1\n2\n")

    async def page(address, path):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        text = await reader.read()
        writer.close()
        return text.decode()

    async with kit.Sink() as sink:
        collector = kit.build(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        await sink.until(lambda: bool(sink.lines))
        await kit.eventually(lambda: collector.lanes[0].idle)
        address = collector.status_address
        assert 'dpipe_collector_lines_total{stream="' in await page(address, "/metrics")
        assert '"in_flight": false' in await page(address, "/status")
        assert "200 OK" in await page(address, "/healthz")
        assert "404" in await page(address, "/nothing")
        collector.stop()
        await task


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("mongo_slow.0.log", "mongoSlow"),
        ("ffs.client.Error.11.log", "ffsClientError"),
        ("check_click_20140101050105_1", "checkClick"),
        ("a.log", "a"),
        ("syslog", "syslog"),
        ("access.log.1", "access"),
        ("access.log-20240101.gz", "access"),
        ("日本.log", "unnamed"),
        ("...", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_logname(name, word):
    assert logname(f"/var/log/{name}" if name else "") == word
    assert is_ident(ident_of("rs.{logname}.{dir}.{stem}", f"/var/log/{name}"))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.STORED),
        (302, Verdict.MISCONFIGURED),
        (409, Verdict.CONFLICT),
        (500, Verdict.UNANSWERED),
        (502, Verdict.UNANSWERED),
        (503, Verdict.REFUSED),
        (418, Verdict.UNANSWERED),
    ],
)
def test_what_answers_mean(status, verdict):
    assert judge("http://x", status, "", b"").verdict is verdict


def test_retry_after_is_honoured_within_reason():
    assert judge("http://x", 503, "7", b"").retry_after_secs == 7
    assert judge("http://x", 503, "Wed, 21 Oct 2026 07:28:00 GMT", b"").retry_after_secs == 0
    assert judge("http://x", 503, "999999", b"").retry_after_secs == 300
    assert 7 <= Pauses().next(7) < 9

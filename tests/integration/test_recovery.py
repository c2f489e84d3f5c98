"""Daemons that fail at start, at a stop and in between: in one line, with the right exit code, with nothing lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.errors import DpipeError, LockedError
from dpiped.testing import events_in, post, running, until

HTTP = '[[project]]\nname = "rs"\n[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'


def file_output(path: Path, name: str = "file", more: str = "") -> str:
    return f'[[output]]\ntype = "file"\nname = "{name}"\npath = "{path}"\n{more}'


def lines(first: int, last: int) -> bytes:
    return b"".join(b'{"@timestamp":%d,"n":%d}\n' % (1_700_000_000_000 + n, n) for n in range(first, last))


def numbers(path: Path) -> list[int]:
    return [event["n"] for event in events_in(path)]


async def test_after_a_lost_state_nothing_is_lost_and_no_number_comes_again(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"")  # a file where the second output wants a folder: it delivers nothing
    config = HTTP + file_output(tmp_path / "a") + file_output(blocked / "b", "late")
    async with running(config, tmp_path) as engine:
        headers = {"X-Dpipe-Batch": "web-1/7/abc"}
        assert (await post(engine, "rs/app", lines(0, 10), headers=headers))[0] == 200
        await until(lambda: numbers(tmp_path / "a") == list(range(10)))
        last = engine.journal.next
    shutil.rmtree(tmp_path / "dpiped" / "state")
    (tmp_path / "a").unlink()
    blocked.unlink()
    async with running(config, tmp_path) as engine:
        assert engine.journal.next >= last
        assert (await post(engine, "rs/app", lines(0, 10), headers=headers))[1]["duplicate"] is True
        await until(lambda: numbers(tmp_path / "a") == numbers(blocked / "b") == list(range(10)))


async def test_after_a_lost_journal_offsets_go_on_above_all_cursors(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a")
    async with running(config, tmp_path) as engine:
        for n in range(5):
            await post(engine, "rs/app", lines(n, n + 1))
        await until(lambda: len(numbers(tmp_path / "a")) == 5)
    shutil.rmtree(tmp_path / "dpiped" / "journal")
    async with running(config, tmp_path) as engine:
        assert engine.journal.next >= 5
        await post(engine, "rs/app", lines(5, 7))
        await until(lambda: numbers(tmp_path / "a") == list(range(7)))


async def test_an_output_that_was_away_catches_up(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a")
    more = file_output(tmp_path / "b", "late")
    async with running(config + more, tmp_path):
        pass
    async with running(config + more + "disabled = true\n", tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 10))
        await until(lambda: len(numbers(tmp_path / "a")) == 10)
    async with running(config + more, tmp_path) as engine:
        await until(lambda: numbers(tmp_path / "b") == list(range(10)))
        await until(lambda: engine.pool.in_use == 0)


async def test_names_that_parts_of_the_engine_use_harm_nobody(tmp_path: Path) -> None:
    names = ("cache", "ticker", "engine")
    outputs = "".join(file_output(tmp_path / name, name) for name in names)
    windows = (
        '[[filter]]\ntype = "aggregate"\nname = "hand"\nwindow_secs = 1\nidle_secs = 1\n'
        '[filter.metrics]\nhits = { op = "count" }\n'
    )
    stats = file_output(tmp_path / "stats", "stats", 'match = ["hand"]\n')
    config = HTTP + outputs + windows + stats
    async with running(config, tmp_path) as engine:
        for n in range(5):
            await post(engine, "rs/app", lines(n * 10, n * 10 + 10))
        for name in names:
            await until(lambda: numbers(tmp_path / name) == list(range(50)))  # noqa: B023
        await until(lambda: sum(event["hits"] for event in events_in(tmp_path / "stats")) == 50)


async def test_a_disk_that_fails_is_503_and_got_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = HTTP + file_output(tmp_path / "a")
    async with running(config, tmp_path) as engine:
        assert (await post(engine, "rs/app", lines(0, 3)))[0] == 200

        def full(fd: int, pieces: object) -> int:
            os.write(fd, b"torn")
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("dpiped.journal.disk.write_all", full)
            for _ in range(3):
                status, answer = await post(engine, "rs/app", lines(3, 6))
                assert (status, "No space" in answer["error"]) == (503, True)
        assert (await post(engine, "rs/app", lines(3, 6)))[0] == 200
    async with running(config, tmp_path):
        assert numbers(tmp_path / "a") == list(range(6))


async def test_room_that_cannot_be_given_back_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.janitor.PERIOD_SECS", 0.01)
    calls = []

    def fail(*_: object) -> int:
        calls.append(1)
        raise OSError(28, "No space left on device")

    async with running(HTTP + file_output(tmp_path / "a"), tmp_path) as engine:
        monkeypatch.setattr(engine.journal.storage, "free", fail)
        await until(lambda: len(calls) > 2)
        assert (await post(engine, "rs/app", lines(0, 3)))[0] == 200


async def test_a_writer_that_breaks_ends_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not stand there, accepting connections and answering nothing."""
    monkeypatch.setattr("plugins.inputs.http.SHUTDOWN_SECS", 0.1)
    file = tmp_path / "d.toml"
    file.write_text(
        f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{tmp_path / "data"}"\n' + HTTP + file_output(tmp_path / "a")
    )
    engine = Engine(load_daemon_config(file))
    task = asyncio.create_task(engine.run())
    await asyncio.wait_for(engine.started.wait(), 10)

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(engine.journal, "_commit", broken)
    sending = asyncio.create_task(post(engine, "rs/app", lines(0, 1)))
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(task, 15)
    sending.cancel()
    await asyncio.wait((sending,))


async def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    config = HTTP.replace(":0", ":%d")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises((DpipeError, ExceptionGroup)):
            async with running(config % port + file_output(tmp_path / "a"), tmp_path):
                pass
    async with running(HTTP + file_output(tmp_path / "a"), tmp_path) as engine:  # the lock and LevelDB are free again
        assert (await post(engine, "rs/app", lines(0, 1)))[0] == 200
        with pytest.raises(LockedError):
            async with running(HTTP + file_output(tmp_path / "b"), tmp_path):
                pass


# ---- as processes --------------------------------------------------------------------------------------------------
def dpiped(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dpiped", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def config_file(folder: Path, text: str, name: str = "d.toml") -> str:
    (folder / name).write_text(f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{folder / "data"}"\n{text}')
    return str(folder / name)


def one_error_line(done: subprocess.CompletedProcess[str]) -> str:
    output = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert "Traceback" not in done.stdout + done.stderr
    assert len(output) == 1, output
    return output[0]


def test_a_port_in_use_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for text in (HTTP.replace(":0", f":{port}"), HTTP):
            file = config_file(tmp_path, text + file_output(tmp_path / "a"))
            if text == HTTP:
                Path(file).write_text(
                    Path(file).read_text().replace('admin = "127.0.0.1:0"', f'admin = "127.0.0.1:{port}"')
                )
            done = dpiped("run", "-c", file)
            assert done.returncode == 1
            assert "in use" in one_error_line(done).lower()


def test_a_data_dir_that_cannot_be_made_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file")
    done = dpiped("run", "-c", config_file(tmp_path, HTTP + file_output(tmp_path / "a")))
    assert done.returncode == 1
    assert "data_dir" in one_error_line(done)


async def test_two_daemons_on_one_data_dir_exit_3(tmp_path: Path) -> None:
    async with running(HTTP + file_output(tmp_path / "a"), tmp_path, name="data"):
        done = await asyncio.to_thread(dpiped, "run", "-c", config_file(tmp_path, HTTP + file_output(tmp_path / "b")))
    assert done.returncode == 3
    assert str(os.getpid()) in one_error_line(done)


@pytest.mark.parametrize(
    "kind", ["missing", "empty folder", "empty", "binary", "not TOML", "folder with a broken file"]
)
def test_configs_that_are_none_exit_2(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c"
    if "folder" in kind:
        path.mkdir()
        if kind != "empty folder":
            (path / "a.toml").write_text("[engine\n")
    elif kind != "missing":
        path.write_bytes({"empty": b"", "binary": b"\x00\xff\xfe", "not TOML": b"key: value\n"}[kind])
    for command in (("check", str(path)), ("run", "-c", str(path))):
        done = dpiped(*command)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert str(path) in done.stdout + done.stderr


async def test_a_memory_journal_goes_on_from_what_all_runners_have_passed(tmp_path: Path) -> None:
    log = tmp_path / "in.log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    config = (
        '[journal]\ntype = "memory"\n[[project]]\nname = "rs"\n'
        f'[[input]]\ntype = "tail"\npaths = ["{log}"]\nread_from = "start"\nident = "app"\n'
        f'[[output]]\ntype = "file"\npath = "{tmp_path}/out.ndjson"\n'
    )
    for turn in range(3):
        async with running(config, tmp_path):
            await until(lambda: len(events_in(tmp_path / "out.ndjson")) >= 100 + turn)  # noqa: B023 - awaited in the turn
        with log.open("a") as handle:
            handle.write(f"line {100 + turn}\n")
    messages = [event["message"] for event in events_in(tmp_path / "out.ndjson")]
    assert messages == [f"line {n}" for n in range(102)]

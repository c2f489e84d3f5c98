"""Reload on the running engine: only what changed is touched, a wrong config changes nothing, nothing is lost."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from dpiped.config.schema import PluginTable, RunnerOptions
from dpiped.engine import Engine
from dpiped.errors import ConfigError
from dpiped.reload import reload_file
from dpiped.testing import address_of, events_in, post, running, until

PROJECT = '[[project]]\nname = "rs"\n'
HTTP = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'


def output(folder: Path, name: str, more: str = "") -> str:
    return f'[[output]]\ntype = "file"\nname = "{name}"\npath = "{folder}/{name}.ndjson"\n{more}'


def rewrite(engine: Engine, old: str, new: str) -> None:
    assert engine.config_path is not None
    text = engine.config_path.read_text("utf-8")
    assert old in text
    engine.config_path.write_text(text.replace(old, new), "utf-8")


def numbers(file: Path) -> list[int]:
    return [event["n"] for event in events_in(file)]


async def test_runners_come_change_and_go(tmp_path: Path) -> None:
    a, b = output(tmp_path, "a"), output(tmp_path, "b")
    async with running(PROJECT + HTTP + a, tmp_path) as engine:
        address = address_of(engine, "http")
        await post(engine, "rs/app", b'{"n":1}')
        rewrite(engine, a, a + b)
        assert await reload_file(engine) == ["b added"]
        await post(engine, "rs/app", b'{"n":2}')
        await until(lambda: numbers(tmp_path / "a.ndjson") == [1, 2])
        rewrite(engine, a, a + 'where = "n > 3"\n')
        assert await reload_file(engine) == ["a changed"]
        for n in (3, 4):
            await post(engine, "rs/app", b'{"n":%d}' % n)
        await until(lambda: numbers(tmp_path / "b.ndjson") == [2, 3, 4])
        rewrite(engine, b, "")
        assert await reload_file(engine) == ["b ended"]
        await post(engine, "rs/app", b'{"n":5}')
        assert address_of(engine, "http") == address  # the socket was not touched
        await until(lambda: numbers(tmp_path / "a.ndjson") == [1, 2, 4, 5])
    assert numbers(tmp_path / "b.ndjson") == [2, 3, 4]


async def test_a_wrong_config_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a = output(tmp_path, "a")
    async with running(PROJECT + HTTP + a, tmp_path) as engine:
        rewrite(engine, "path = ", "pth = ")
        with pytest.raises(ConfigError, match="path"):
            await reload_file(engine)
        (told,) = [one for one in caplog.records if one.message == "the old config stays"]
        assert 'key "pth"' in told.details["detail"]  # type: ignore[attr-defined]
        await post(engine, "rs/app", b'{"n":1}')
        await until(lambda: numbers(tmp_path / "a.ndjson") == [1])


async def test_what_cannot_be_started_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = output(tmp_path, "a"), output(tmp_path, "b")
    async with running(PROJECT + HTTP + a + b, tmp_path) as engine:
        build = engine.build_runner

        def fails_once(table: PluginTable[RunnerOptions]) -> object:
            if table.name == "b":
                monkeypatch.undo()
                raise OverflowError("too long")
            return build(table)

        monkeypatch.setattr(engine, "build_runner", fails_once)
        rewrite(engine, a + b, a + 'where = "n > 3"\n' + b + 'where = "n > 3"\n')
        with pytest.raises(ConfigError, match="cannot be started: OverflowError: too long"):
            await reload_file(engine)
        await post(engine, "rs/app", b'{"n":1}')
        for name in ("a", "b"):
            await until(lambda name=name: numbers(tmp_path / f"{name}.ndjson") == [1])
        assert sorted(await reload_file(engine)) == ["a changed", "b changed"]
        await post(engine, "rs/app", b'{"n":2}{"n":4}')
        for name in ("a", "b"):
            await until(lambda name=name: numbers(tmp_path / f"{name}.ndjson") == [1, 4])


async def test_an_input_moves_to_another_port(tmp_path: Path) -> None:
    async with running(PROJECT + HTTP + output(tmp_path, "a"), tmp_path) as engine:
        rewrite(engine, HTTP, HTTP + 'max_body_bytes = "1KiB"\n')
        assert await reload_file(engine) == ["http changed"]
        await until(lambda: engine.inputs[0].status == "running")
        assert (await post(engine, "rs/app", b'{"n":1,"long":"%s"}' % (b"x" * 2000)))[0] == 413
        assert (await post(engine, "rs/app", b'{"n":1}'))[0] == 200
        await until(lambda: numbers(tmp_path / "a.ndjson") == [1])


async def test_many_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    a, b = output(tmp_path, "a"), output(tmp_path, "b", "metadata = false\n")
    async with running(PROJECT + HTTP + a + b, tmp_path) as engine:
        for turn in range(40):
            old, new = ("false", "true") if turn % 2 == 0 else ("true", "false")
            await post(engine, "rs/app", b'{"n":%d}' % (2 * turn))
            rewrite(engine, f"metadata = {old}", f"metadata = {new}")
            assert await reload_file(engine) == ["b changed"]
            await post(engine, "rs/app", b'{"n":%d}' % (2 * turn + 1))
        await until(lambda: len(numbers(tmp_path / "b.ndjson")) >= 80)
    assert numbers(tmp_path / "a.ndjson") == numbers(tmp_path / "b.ndjson") == list(range(80))


@pytest.mark.parametrize("ends", [True, False])
async def test_a_reload_refuses_nobody_while_a_client_stalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    monkeypatch.setattr("plugins.inputs.http.SHUTDOWN_SECS", 20.0 if ends else 1.0)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    http = HTTP.replace(":0", f":{port}")
    sent: list[int] = []
    done = asyncio.Event()

    async def send(number: int) -> None:
        """One event by a connection of its own; raises when it is refused, or cut off."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"n":%d}' % number
        writer.write(b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        sent.append(number)

    async def keep_sending(first: int) -> None:
        number = first
        while not done.is_set():
            await send(number)
            number += 1
            await asyncio.sleep(0.01)

    async def keep_sending_by_one_connection(number: int) -> None:
        async with aiohttp.ClientSession() as session:
            while not done.is_set():
                url = f"http://127.0.0.1:{port}/ingest/rs/app"
                async with session.post(url, data=b'{"n":%d}' % number) as answer:
                    assert answer.status == 200
                sent.append(number)
                number += 1
                await asyncio.sleep(0.01)

    async with running(PROJECT + http + output(tmp_path, "a"), tmp_path) as engine:
        reader, stalled = await asyncio.open_connection("127.0.0.1", port)
        stalled.write(b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{")
        await until(lambda: engine.report()[0]["connections"] == 1)
        async with asyncio.TaskGroup() as senders:
            for first in (1_000, 2_000, 3_000):
                senders.create_task(keep_sending(first))
            senders.create_task(keep_sending_by_one_connection(4_000))
            await until(lambda: len(sent) > 10)
            rewrite(engine, http, http + "idle_secs = 30\n")
            reloading = asyncio.create_task(reload_file(engine))
            await asyncio.sleep(0.8)
            assert not reloading.done()
            if ends:
                stalled.write(b'"n":1}')
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert await reloading == ["http changed"]
            before = len(sent)
            await until(lambda: len(sent) > before + 10)
            done.set()
        await until(lambda: sorted(numbers(tmp_path / "a.ndjson")) == sorted([*([1] if ends else []), *sent]))
        stalled.close()


async def test_an_address_that_nobody_takes_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.web.handover.KEPT_SECS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    http = HTTP.replace(":0", f":{address[1]}")

    def is_bound() -> bool:
        with socket.socket() as client:
            return client.connect_ex(address) == 0

    async with running(PROJECT + http + HTTP + 'name = "b"\n' + output(tmp_path, "a"), tmp_path) as engine:
        assert is_bound()
        monkeypatch.setattr("dpiped.web.listener.take", lambda address: [])
        rewrite(engine, http, http + "idle_secs = 30\n")
        await reload_file(engine)  # it cannot bind at first
        await until(lambda: engine.inputs[0].status == "running")
        monkeypatch.undo()
        assert (await post(engine, "rs/app", b'{"n":1}'))[0] == 200
        rewrite(engine, http + "idle_secs = 30\n", "")
        await reload_file(engine)
        assert not is_bound()


async def test_what_waits_for_the_next_start_is_told_until_it_is_taken_back(tmp_path: Path) -> None:
    a = output(tmp_path, "a")
    waits = ["[deadletter] changed: that takes effect at the next start"]
    async with running(PROJECT + HTTP + a, tmp_path) as engine:
        rewrite(engine, a, a + "[deadletter]\nkeep_secs = 5\n")
        assert await reload_file(engine) == waits
        assert await reload_file(engine) == waits
        rewrite(engine, "[deadletter]\nkeep_secs = 5\n", "")
        assert await reload_file(engine) == []

"""Reload on the running engine: only what changed is touched, a wrong config changes nothing, nothing is lost."""

from __future__ import annotations

from pathlib import Path

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


async def test_a_wrong_config_changes_nothing(tmp_path: Path) -> None:
    a = output(tmp_path, "a")
    async with running(PROJECT + HTTP + a, tmp_path) as engine:
        rewrite(engine, "path = ", "pth = ")
        with pytest.raises(ConfigError, match="path"):
            await reload_file(engine)
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

"""Output `leveldb` and `dpiped leveldb`: keys of events, what has none, and looking into the store."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import plyvel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dpiped.cli import main
from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError
from dpiped.keyed import int_of, ordered_int
from dpiped.leveldb import LevelDb
from dpiped.testing import until
from dpiped.testing.parts import Parts, parts
from plugins.outputs.leveldb import LevelDbConfig, LevelDbOutput

INTS = st.integers(-(1 << 63), (1 << 63) - 1)


def body_of(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps({"@timestamp": 1_000, **event}).encode() + b"\n" for event in events)


async def put(folder: Path, key: str, *bodies: bytes, fields: tuple[str, ...] = (), **options: Any) -> list[str]:
    """Delivers and stops; the reasons of dead letters."""
    async with parts(folder) as world:
        await world.append(*bodies)
        await delivered(world, folder, key, len(bodies), fields, **options)
        return [letter.reason for letter in world.around.deadletters.scan()]


async def delivered(
    world: Parts, folder: Path, key: str, packs: int, fields: tuple[str, ...] = (), **options: Any
) -> Any:
    config = LevelDbConfig(path=str(folder / "store"), key=key, fields=fields)
    runner = world.output(LevelDbOutput, config, type="leveldb", **{"metadata": False, **options})
    await world.start(runner)
    await until(lambda: runner.saved.cursor == packs)
    return runner


def shown(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> list[tuple[str, Any]]:
    assert main(["leveldb", "scan", str(folder / "store"), *arguments]) == 0
    return [(one["key"], one["value"]) for one in map(json.loads, capsys.readouterr().out.splitlines())]


# ---- keys ----------------------------------------------------------------------------------------------------------
@given(INTS, INTS)
def test_numbers_in_keys_sort_and_come_back(one: int, other: int) -> None:
    assert (ordered_int(one) < ordered_int(other)) == (one < other)
    assert (int_of(ordered_int(one)), len(ordered_int(one))) == (one, 20)


async def test_keys_are_filled_by_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [
        {"uid": "käse", "n": -1, "on": True, "x": 1.5},
        {"uid": "b", "n": 7, "on": False, "x": 2},
        {"uid": "c", "n": 7.0, "on": False, "x": 2},
    ]
    await put(tmp_path, "u/{uid}/{n:int}/{on}/{x}/{_ident}", body_of(*events))
    assert [key for key, _ in shown(capsys, tmp_path)] == [
        "u/b/10000000000000000007/false/2/app",
        "u/c/10000000000000000007/false/2/app",
        "u/käse/09999999999999999999/true/1.5/app",
    ]


async def test_the_last_event_of_a_key_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = [body_of({"uid": 1, "n": n}, {"uid": 1, "n": n + 1}) for n in (0, 10)]
    await put(tmp_path, "{uid}", *bodies)
    assert shown(capsys, tmp_path) == [("1", {"@timestamp": 1_000, "uid": 1, "n": 11})]


async def test_each_event_can_have_its_own_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await put(tmp_path, "{_id}", body_of({"n": 0}, {"n": 1}), body_of({"n": 2}), where="n != 1")
    found = shown(capsys, tmp_path)
    assert [value["n"] for _, value in found] == [0, 2]
    assert [key.split("-")[1:] for key, _ in found] == [["000000000000", "0000"], ["000000000001", "0000"]]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"n": 1}, "no field uid"),
        ({"uid": "a"}, "no field n"),
        ({"uid": [1], "n": 1}, "field uid is a list"),
        ({"uid": {"a": 1}, "n": 1}, "no field uid"),
        ({"uid": "a", "n": "5"}, "field n is no whole number of 64 bits"),
        ({"uid": "a", "n": 1 << 63}, "field n is no whole number of 64 bits"),
        ({"uid": "a", "n": True}, "field n is no whole number of 64 bits"),
        ({"uid": "x" * 1024, "n": 1}, "the key is longer than 1024 bytes"),
    ],
)
async def test_events_without_a_key_are_dead_letters(
    event: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"uid": "good", "n": 1}
    assert await put(tmp_path, "{uid}/{n:int}", body_of(good, event, good)) == [reason]
    assert [value["uid"] for _, value in shown(capsys, tmp_path)] == ["good"]


@pytest.mark.parametrize(("uid", "reason"), [("~format", "the store uses itself"), ("", "the key is empty")])
async def test_keys_that_cannot_be(uid: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = await put(tmp_path, "{uid}", body_of({"uid": uid}))
    assert reason in found
    assert shown(capsys, tmp_path) == []


async def test_chosen_fields_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"uid": 1, "a": {"b": {"c": [1, {"d": None}]}, "x.y": 2}, "a.x": 3, "no": 4, "flat": 5}
    await put(tmp_path, "{uid}", body_of(event), fields=("a.b", "a.x", "a.x.y", "flat.b", "gone", "uid"))
    assert shown(capsys, tmp_path) == [("1", {"a.b": {"c": [1, {"d": None}]}, "a.x": 3, "a.x.y": 2, "uid": 1})]


# ---- config --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("fixed", "expected a field in braces"),
        ("{uid", "a brace is not closed"),
        ("{}", "expected the name of a field"),
        ("{:int}", "expected the name of a field"),
        ("{_id:int}", "expected the name of a field"),
    ],
)
def test_config_mistakes(key: str, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        LevelDbConfig(path="x", key=key)


def test_a_folder_has_one_output(tmp_path: Path) -> None:
    table = '[[output]]\ntype = "leveldb"\nname = "{}"\npath = "{}"\nkey = "{{uid}}"\n'
    file = tmp_path / "two.toml"
    outputs = table.format("one", tmp_path / "s") + table.format("two", tmp_path / "x/../s")
    file.write_text('[[project]]\nname = "rs"\n[[input]]\ntype = "stdin"\n' + outputs)
    with pytest.raises(ConfigError, match='is used already by "one"'):
        load_daemon_config(file)


# ---- the folder ----------------------------------------------------------------------------------------------------
async def test_a_restart_goes_on_and_doubles_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await put(tmp_path, "{_id}", *(body_of({"n": n}) for n in range(3)))
    async with parts(tmp_path) as world:  # another name has another cursor: all packs once more
        await delivered(world, tmp_path, "{_id}", 3, name="again")
    assert [value["n"] for _, value in shown(capsys, tmp_path)] == [0, 1, 2]


async def test_the_store_of_another_program_is_left_alone(tmp_path: Path) -> None:
    foreign = plyvel.DB(str(tmp_path / "store"), create_if_missing=True)
    foreign.put(b"k", b"v")
    foreign.close()
    async with parts(tmp_path) as world:
        config = LevelDbConfig(path=str(tmp_path / "store"), key="{uid}")
        runner = world.output(LevelDbOutput, config, type="leveldb")
        await world.start(runner)
        await until(lambda: runner.status == "failed")
        assert "store holds a LevelDB of another program: name another folder" in runner.last_error
    foreign = plyvel.DB(str(tmp_path / "store"))
    assert list(foreign) == [(b"k", b"v")]
    foreign.close()


async def test_a_damaged_store_is_said_and_waited_for(tmp_path: Path) -> None:
    await put(tmp_path, "{uid}", body_of({"uid": 1}))
    (tmp_path / "store/CURRENT").write_text("nonsense\n")
    async with parts(tmp_path) as world:
        config = LevelDbConfig(path=str(tmp_path / "store"), key="{uid}")
        runner = world.output(LevelDbOutput, config, type="leveldb")
        await world.start(runner)
        await until(lambda: runner.status == "retrying")
        assert "if it is damaged, move it away: a new one is begun" in runner.last_error
        shutil.move(tmp_path / "store", tmp_path / "away")
        await until(lambda: runner.status == "running")


# ---- dpiped leveldb ------------------------------------------------------------------------------------------------
async def test_get_and_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await put(tmp_path, "{uid}/{n:int}", body_of(*({"uid": uid, "n": n} for uid in ("a", "b") for n in (-1, 0, 5))))
    before = sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "store").iterdir())

    def numbers(*arguments: str) -> list[tuple[str, int]]:
        return [(value["uid"], value["n"]) for _, value in shown(capsys, tmp_path, *arguments)]

    assert numbers() == [("a", -1), ("a", 0), ("a", 5), ("b", -1), ("b", 0), ("b", 5)]
    assert numbers("--prefix", "b/") == [("b", -1), ("b", 0), ("b", 5)]
    assert numbers("--prefix", "b/", "--limit", "1") == [("b", -1)]
    assert numbers("--from", "a/1", "--to", "b") == [("a", 0), ("a", 5)]
    assert numbers("--prefix", "a", "--from", "b") == []
    assert main(["leveldb", "get", str(tmp_path / "store"), f"a/{ordered_int(5)}"]) == 0
    assert json.loads(capsys.readouterr().out) == {"@timestamp": 1_000, "uid": "a", "n": 5}
    assert sorted((file.name, file.stat().st_mtime_ns) for file in (tmp_path / "store").iterdir()) == before


async def test_what_cannot_be_looked_at_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await put(tmp_path, "{uid}", body_of({"uid": 1}))
    for folder, key, text in (
        (tmp_path / "store", "nobody", "has no key 'nobody'; `dpiped leveldb scan` shows what is there"),
        (tmp_path / "store", "~format", "has no key '~format'"),
        (tmp_path / "none", "1", "none is no LevelDB: name the `path` of an output leveldb"),
    ):
        assert main(["leveldb", "get", str(folder), key]) == 1
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1


def test_a_database_of_the_daemon_itself_is_no_store_to_look_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = LevelDb(tmp_path / "state")
    database.write([(b"key", b"\xff\xfe"), (b"\xff", b"{}")], sync=True)
    database.close()
    for arguments in (["scan"], ["get", "key"]):
        verb, *key = arguments
        assert main(["leveldb", verb, str(tmp_path / "state"), *key]) == 1
        error = capsys.readouterr().err
        assert "state is no store of an output leveldb: name the `path` of one" in error
        assert error.count("\n") == 1


async def test_a_store_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        await world.append(body_of({"uid": 1}))
        await delivered(world, tmp_path, "{uid}", 1)
        command = [sys.executable, "-m", "dpiped", "leveldb", "get", str(tmp_path / "store"), "1"]
        refused = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "store is in use by a running daemon: stop that, or copy the folder and name the copy" in refused.stderr
    assert refused.stderr.count("\n") == 1
    found = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["uid"] == 1

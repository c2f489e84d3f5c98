"""Output `behavior`: which events become rows, restarts, and what it does in the background."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dpiped.behavior.fields import Reading, parse_field
from dpiped.behavior.rows import DAY_MS
from dpiped.behavior.timeline import of_user
from dpiped.config.load import load_daemon_config
from dpiped.errors import ConfigError
from dpiped.leveldb import LevelDbError
from dpiped.testing import body_of, until, view_of
from dpiped.testing.parts import Parts, parts
from plugins.outputs import behavior
from plugins.outputs.behavior import BehaviorConfig, BehaviorOutput

CONFIG = BehaviorConfig(table="players", uid="uid:int", action="action", dims=("country",))


def stamped(*events: dict[str, Any]) -> bytes:
    return body_of({"@timestamp": 1_000, **event} for event in events)


def read(events: list[dict[str, Any]], uid: str = "uid:int", action: str = "action") -> tuple[list[Any], Counter[str]]:
    """([(uid, action, dimension)], what was skipped)."""
    reading = Reading(parse_field(uid), parse_field(action), ("country",))
    rows, skipped = reading.rows(view_of(stamped(*events), reading.fields, epoch="e", offset=7))
    named = [rows.actions.values[code] for code in rows.actions.codes]
    dims = [rows.dims["country"].values[code] for code in rows.dims["country"].codes]
    return [(rows.uid(at), name, dim) for at, (name, dim) in enumerate(zip(named, dims, strict=True))], skipped


# ---- events --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "uid"),
    [
        (5, 5),
        (-(1 << 63), -(1 << 63)),
        ((1 << 63) - 1, (1 << 63) - 1),
        (1 << 63, None),
        (10**30, None),
        ("42", 42),
        ("-42", -42),
        (" 42", None),
        ("٤٢", None),
        ("9" * 20, None),
        ("9" * 5000, None),
        (3.0, 3),
        (3.5, None),
        (1e300, None),
        (True, None),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
    ],
)
def test_uids_that_are_numbers(given: Any, uid: int | None) -> None:
    rows, skipped = read([{"uid": 1, "action": "a"}, {"uid": given, "action": "b"}])
    assert rows == [(1, "a", None)] + ([(uid, "b", None)] if uid is not None else [])
    assert skipped == ({"no_uid": 1} if uid is None else {})


@pytest.mark.parametrize(
    ("given", "uid"),
    [
        ("ann", "ann"),
        ("käse 二 🐈 \u2028 \0", "käse 二 🐈 \u2028 \0"),
        (5, "5"),
        ("", None),
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, None),
        (1.5, None),
        (False, None),
        ([], None),
    ],
)
def test_uids_that_are_texts(given: Any, uid: str | None) -> None:
    rows, skipped = read([{"uid": "b", "action": "a"}, {"uid": given, "action": "b"}], uid="uid:string")
    assert rows == [("b", "a", None)] + ([(uid, "b", None)] if uid is not None else [])
    assert skipped == ({"no_uid": 1} if uid is None else {})


def test_what_is_absent_is_counted_by_reason() -> None:
    events: list[dict[str, Any]] = [{}, {"uid": 1}, {"action": "a"}, {"uid": 2, "action": "a", "country": "de"}]
    assert read(events) == ([(2, "a", "de")], Counter(no_uid=2, no_action=1))
    assert read([]) == ([], Counter())


def test_actions_can_be_numbers() -> None:
    assert read([{"uid": 1, "action": 7}, {"uid": 1, "action": "07"}], action="action:int")[0] == [
        (1, "7", None),
        (1, "7", None),
    ]


@pytest.mark.parametrize(
    ("given", "dim"),
    [("de", "de"), (5, "5"), (1.5, "1.5"), (True, "true"), (None, None), ([1], None), ("", ""), ("x" * 2000, None)],
)
def test_dimensions_are_texts(given: Any, dim: str | None) -> None:
    assert read([{"uid": 1, "action": "a", "country": given}])[0] == [(1, "a", dim)]


@pytest.mark.parametrize("at", [-1, -(10**14), 0, 10**15])
def test_any_time_that_a_day_can_hold(at: int) -> None:
    assert len(read([{"uid": 1, "action": "a", "@timestamp": at}])[0]) == 1


@pytest.mark.parametrize("at", [1 << 62, -(1 << 62)])
def test_other_times_are_skipped(at: int) -> None:
    rows, skipped = read([{"uid": 1, "action": "a", "@timestamp": at}, {"uid": 1, "action": "b"}])
    assert (rows, skipped) == ([(1, "b", None)], {"bad_time": 1})


# ---- config --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"uid": "uid:integer"}, 'expected a field with its type, such as "uid:int"'),
        ({"uid": ":int"}, "expected a field with its type"),
        ({"uid": ""}, "expected the name of a field"),
        ({"table": "a/b"}, "expected 1 to 64 letters"),
        ({"dims": ("a", "a")}, "expected each field once"),
        ({"keep_days": 0}, "greater than 0"),
    ],
)
def test_config_mistakes(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        BehaviorConfig.model_validate({"table": "t", "uid": "uid", "action": "a", **keys})


def test_a_table_has_one_output(tmp_path: Path) -> None:
    table = '[[output]]\ntype = "behavior"\nname = "{}"\ntable = "players"\nuid = "uid"\naction = "action"\n'
    file = tmp_path / "two.toml"
    file.write_text('[[project]]\nname = "rs"\n[[input]]\ntype = "stdin"\n' + table.format("one") + table.format("two"))
    with pytest.raises(ConfigError, match='table players is used already by "one"'):
        load_daemon_config(file)


# ---- the runner ----------------------------------------------------------------------------------------------------
def actions(runner: Any, uid: int = 1) -> list[str]:
    return [one["action"] for one in of_user(runner.open_plugin.behavior(), uid)]


async def delivered(world: Parts, config: BehaviorConfig, packs: int, **options: Any) -> Any:
    runner = world.output(BehaviorOutput, config, type="behavior", **options)
    await world.start(runner)
    await until(lambda: runner.saved.cursor == packs and runner.open_plugin is not None)
    return runner


def counted(world: Parts, what: str) -> float:
    """What the metrics say of a reason."""
    lines = world.telemetry.metrics.text().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'"{what}"' in line and "_total{" in line)


async def test_a_replay_and_a_restart_double_nothing(tmp_path: Path) -> None:
    bodies = [stamped({"uid": 1, "action": f"a{n}", "@timestamp": n}) for n in range(5)]
    async with parts(tmp_path) as world:
        await world.append(*bodies)
        runner = await delivered(world, CONFIG, 5)
        assert actions(runner) == ["a0", "a1", "a2", "a3", "a4"]
        runner.open_plugin.behavior().fold()
    async with parts(tmp_path) as world:  # another name has another cursor: all packs once more
        runner = await delivered(world, CONFIG, 5, name="again")
        assert actions(runner) == ["a0", "a1", "a2", "a3", "a4"]
        assert runner.open_plugin.status() == {"table": "players", "fresh_rows": 5}


async def test_skipped_events_are_noted_once(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        await world.append(stamped({"uid": 1}, {"uid": 1, "action": "a"}), stamped({"action": "b"}))
        await delivered(world, CONFIG, 2)
        assert [counted(world, what) for what in ("no_uid", "no_action")] == [1.0, 1.0]


async def test_where_keeps_the_lines_of_the_pack(tmp_path: Path) -> None:
    """A repeat with another `where` overwrites, and does not double."""
    async with parts(tmp_path) as world:
        await world.append(stamped(*({"uid": 1, "action": f"a{n}", "n": n} for n in range(4))))
        await delivered(world, CONFIG, 1, where="n >= 2")
    async with parts(tmp_path) as world:
        runner = await delivered(world, CONFIG, 1, name="all")
        assert actions(runner) == ["a0", "a1", "a2", "a3"]


async def test_it_folds_when_there_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.behavior.table.FOLD_ROWS", 3)
    async with parts(tmp_path) as world:
        for n in range(6):
            await world.append(stamped({"uid": 1, "action": f"a{n}", "@timestamp": n}))
        runner = await delivered(world, CONFIG, 6, batch={"max_secs": 0})
        await until(lambda: runner.open_plugin.behavior().fresh_rows < 3)
        assert actions(runner) == [f"a{n}" for n in range(6)]


async def test_old_days_are_dropped_and_counted(tmp_path: Path) -> None:
    today = int(time.time() * 1000) // DAY_MS * DAY_MS
    events = [{"uid": 1, "action": f"{age}", "@timestamp": today - age * DAY_MS} for age in (5, 2, 1, 0)]
    async with parts(tmp_path) as world:
        await world.append(stamped(*events))
        await delivered(world, CONFIG, 1)
    async with parts(tmp_path) as world:
        config = CONFIG.model_copy(update={"keep_days": 3})
        runner = await delivered(world, config, 1)
        await until(lambda: actions(runner) == ["2", "1", "0"])
        await until(lambda: counted(world, "keep_days") == 1.0)


async def test_a_disk_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail = [LevelDbError("write players: No space left on device")] * 2
    add = behavior.BehaviorTable.add

    def failing(self: Any, packs: Any) -> None:
        if fail:
            raise fail.pop()
        add(self, packs)

    monkeypatch.setattr(behavior.BehaviorTable, "add", failing)
    async with parts(tmp_path) as world:
        await world.append(stamped({"uid": 1, "action": "a"}))
        runner = await delivered(world, CONFIG, 1, retry={"initial_secs": 0.01})
        assert (actions(runner), fail) == (["a"], [])


async def test_another_type_of_uid_stands_and_says_why(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        await delivered(world, CONFIG, 0)
    async with parts(tmp_path) as world:
        runner = world.output(BehaviorOutput, CONFIG.model_copy(update={"uid": "uid:string"}), type="behavior")
        await world.start(runner)
        await until(lambda: runner.status == "failed")
        assert "holds uids of type int: keep that, or name another table" in runner.last_error


async def test_a_fold_that_fails_is_told_and_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.behavior.table.FOLD_ROWS", 1)
    monkeypatch.setattr(behavior, "MOST_FRESH", 100)
    monkeypatch.setattr(behavior, "TIDY_AGAIN_SECS", 0.01)
    fail = [LevelDbError("read players: Input/output error")]
    fold = behavior.BehaviorTable.fold

    def failing(self: Any) -> int:
        if fail:
            raise fail.pop()
        return fold(self)

    monkeypatch.setattr(behavior.BehaviorTable, "fold", failing)
    said: list[str] = []
    async with parts(tmp_path) as world:
        world.telemetry.listener = lambda event: said.append(str(event.details()))
        await world.append(stamped({"uid": 1, "action": "a"}))
        runner = await delivered(world, CONFIG, 1)
        await until(lambda: runner.open_plugin.behavior().fresh_rows == 0)
        assert actions(runner) == ["a"]
    assert any("Input/output error" in text for text in said)


async def test_writing_waits_when_nothing_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.behavior.table.FOLD_ROWS", 2)

    async def stand(self: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(BehaviorOutput, "_tidy_now_and_then", stand)
    async with parts(tmp_path) as world:
        for n in range(20):
            await world.append(stamped({"uid": 1, "action": f"a{n}", "@timestamp": n}))
        runner = await delivered(world, CONFIG, 20, batch={"max_events": 1})
        assert runner.open_plugin.behavior().fresh_rows < 2 * behavior.MOST_FRESH
        assert actions(runner) == [f"a{n}" for n in range(20)]


async def test_a_defect_in_the_background_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.behavior.table.FOLD_ROWS", 1)
    fold, broken = behavior.BehaviorTable.fold, [ZeroDivisionError("defect")]

    def failing(self: Any) -> int:
        if broken:
            raise broken.pop()
        return fold(self)

    monkeypatch.setattr(behavior, "MOST_FRESH", 100)
    monkeypatch.setattr(behavior.BehaviorTable, "fold", failing)
    async with parts(tmp_path) as world:
        await world.append(stamped({"uid": 1, "action": "a"}))
        runner = await delivered(world, CONFIG, 1)
        await until(runner.open_plugin._tidying.done)
        await world.append(stamped({"uid": 1, "action": "b", "@timestamp": 2_000}))
        await until(lambda: runner.saved.cursor == 2 and runner.status == "running")
        assert actions(runner) == ["a", "b"]
        said = world.telemetry.metrics.text().decode()
        assert f'dpipe_plugin_failures_total{{plugin="{runner.name}"}} 1.0' in said
        assert world.around.deadletters.count == 0

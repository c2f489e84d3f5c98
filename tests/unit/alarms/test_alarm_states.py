"""Firing, again, resolved; what operators say; what survives restarts; what is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from dpiped.alarms.samples import LONGEST, MOST, Samples
from dpiped.questions import Question
from tests.alarming import AT, World, alarms_of, states

RULE: dict[str, Any] = {"when": "count >= 1", "window_secs": 10, "group_by": ["g"]}


def busy(world: World, secs: int, **event: Any) -> list[tuple[int, str]]:
    """An event and a tick each second; (second, state) of the alarms."""
    found = []
    for second in range(secs):
        alarms = world.send({"g": "a", **event}) + world.tick()
        found += [(second, alarm["state"]) for alarm in alarms]
    return found


# ---- throttle ------------------------------------------------------------------------------------------------------
def test_again_comes_at_most_so_often() -> None:
    world = World(throttle_secs=7, **RULE)
    assert busy(world, 20) == [(0, "firing"), (7, "again"), (14, "again")]


def test_throttle_survives_restarts() -> None:
    world = World(throttle_secs=7, **RULE)
    found = []
    for start in range(20):
        found += [(start, state) for _, state in busy(world, 1)]
        world.restart()
    assert found == [(0, "firing"), (7, "again"), (14, "again")]


def test_time_in_which_the_daemon_was_down_lets_no_again_through() -> None:
    world = World(throttle_secs=7, **RULE)
    busy(world, 1)
    world.restart()
    world.now += 5_000
    assert busy(world, 1) == []


def test_a_clock_that_is_set_back_holds_no_again_up() -> None:
    world = World(throttle_secs=7, window_secs=0, group_by=["g"])
    busy(world, 1)
    found = []
    for second in range(1, 9):
        world.now -= 3_600_000
        found += [(second, alarm["state"]) for alarm in world.send({"g": "a"})]
        world.tick()
    assert found == [(7, "again")]


def test_without_new_events_nothing_is_told_again() -> None:
    world = World(throttle_secs=0, resolve_after_secs=3, **RULE)
    assert busy(world, 2) == [(0, "firing"), (1, "again")]
    assert states(world.tick(30)) == [("resolved", "threshold")]


def test_resolve_after_outlasts_pauses() -> None:
    world = World(throttle_secs=1_000, resolve_after_secs=30, **RULE)
    found = []
    for _ in range(6):
        found += world.send({"g": "a"}) + world.tick(20)
    assert states(found) == [("firing", "threshold")]
    world.restart()
    assert [a["state"] for a in world.tick(60)] == ["resolved"]


# ---- operators -----------------------------------------------------------------------------------------------------
def fingerprint(world: World) -> str:
    return str(alarms_of(world.plugin)[0]["fingerprint"])


def test_acknowledged_it_is_told_only_when_it_is_resolved() -> None:
    world = World(throttle_secs=0, resolve_after_secs=2, **RULE)
    busy(world, 1)
    world.command("ack", fingerprint(world))
    assert busy(world, 3) == []
    world.restart()
    assert busy(world, 2) == []
    assert alarms_of(world.plugin, "firing")[0]["acked"] is True
    assert [a["state"] for a in world.tick(40)] == ["resolved"]
    assert busy(world, 2) == [(0, "firing"), (1, "again")]  # the next one is another one
    world.command("ack", fingerprint(world))
    world.command("unack", fingerprint(world))
    assert busy(world, 1) == [(0, "again")]


def test_silenced_nothing_is_told_until_it_ends() -> None:
    world = World(throttle_secs=0, resolve_after_secs=2, **RULE)
    busy(world, 1)
    world.command("silence", fingerprint(world), secs=5)
    until = world.now + 5_000
    assert alarms_of(world.plugin)[0]["silenced_until_ms"] == until
    world.restart()
    assert busy(world, 8) == [(4, "again"), (5, "again"), (6, "again"), (7, "again")]
    assert world.noted("alarm_silenced") == 4
    assert world.plugin.status()["silenced"] == 0


def test_what_is_resolved_while_it_is_silenced_is_told_at_the_end() -> None:
    world = World(throttle_secs=0, resolve_after_secs=2, **RULE)
    busy(world, 1)
    world.command("silence", fingerprint(world), secs=100)
    assert world.tick(50) == []
    assert [row["state"] for row in alarms_of(world.plugin)] == ["resolved"]
    assert alarms_of(world.plugin, "firing") == []
    world.restart()
    assert [a["state"] for a in world.tick(60)] == ["resolved"]
    assert alarms_of(world.plugin) == []


def test_unsilence_and_what_comes_back_in_a_silence() -> None:
    world = World(throttle_secs=0, resolve_after_secs=2, **RULE)
    busy(world, 1)
    world.command("silence", fingerprint(world), secs=1_000)
    world.tick(50)
    assert busy(world, 1) == []
    assert [row["state"] for row in alarms_of(world.plugin)] == ["firing"]
    world.command("unsilence", fingerprint(world))
    assert busy(world, 1) == [(0, "again")]


@pytest.mark.parametrize(
    "said",
    [
        {"control": "ack", "fingerprint": "0" * 16},
        {"control": "ack"},
        {"control": "explode", "fingerprint": "A"},
        {"control": "silence", "fingerprint": "A", "at_ms": AT},
        {"control": "silence", "fingerprint": "A", "at_ms": AT, "secs": "5"},
        {"control": "silence", "fingerprint": "A", "at_ms": AT, "secs": -5},
        {"control": "silence", "fingerprint": "A", "at_ms": None, "secs": True},
        {"control": "silence", "fingerprint": "A", "at_ms": AT, "secs": 1e300},
        {},
    ],
)
def test_what_means_nothing_is_counted_and_changes_nothing(said: dict[str, Any]) -> None:
    world = World(**RULE)
    busy(world, 1)
    before = alarms_of(world.plugin)
    if said.get("fingerprint") == "A":
        said = {**said, "fingerprint": before[0]["fingerprint"]}
    assert list(world.plugin.command(said)) == []
    assert alarms_of(world.plugin) == before
    assert world.noted("command_without_alarm") == 1


def test_alarms_are_told_the_worst_first() -> None:
    world = World(**RULE)
    world.send({"g": "a"}, {"g": "b"}, {"g": "b"}, {"g": None})
    world.tick()
    rows = alarms_of(world.plugin)
    assert [(row["score"], row["group"]) for row in rows[:1]] == [(20, {"g": "b"})]
    assert set(rows[0]) == {
        *("alarm", "fingerprint", "state", "severity", "score", "title", "reason", "group", "since_ms", "last_ms"),
        *("values", "acked", "silenced_until_ms"),
    }
    assert alarms_of(world.plugin, "resolved") == []
    assert [answer["count"] for answer in world.plugin.answers(Question("current", "b"))] == [2]


# ---- bounds --------------------------------------------------------------------------------------------------------
def test_a_bomb_of_groups_is_bounded_and_counted() -> None:
    world = World(when="count >= 1", group_by=["g"], max_groups=50, silence_secs=3, throttle_secs=0)
    for part in range(4):
        world.send(*({"g": f"{part}/{number}"} for number in range(1_000)))
    alarms = world.tick()
    assert len(alarms) == len(alarms_of(world.plugin)) == 51
    assert world.noted("group_over_limit") >= 3_950
    assert sum(alarm["group"] == {"g": "_other"} for alarm in alarms) == 1
    world.save()
    assert len(world.stored) < 500
    assert states(world.tick(5)).count(("firing", "silence")) == 50  # one for each group that is waited for


def test_samples_are_bounded() -> None:
    world = World(when="count >= 1", group_by=["g"])
    world.send(*({"g": "a", "n": n, "text": "x" * (LONGEST if n == 1 else 1)} for n in range(9)))
    (alarm,) = world.tick()
    assert [sample["n"] for sample in alarm["samples"]] == [0, 2, 3, 4, 5]
    samples = Samples(room=100)
    samples.add(0, ["a", "b", "c"], [b"x" * 60, b"y" * 60, b"z" * 30])
    assert [samples.of([0], [key]) for key in "abc"] == [[b"x" * 60], [], [b"z" * 30]]
    assert list(samples.drop([0])) == []
    samples.add(1, ["b"] * 9, [b"y" * 10] * 9)
    assert samples.of([0, 1], ["b", "b"]) == [b"y" * 10] * MOST
    assert samples.panes == [1]


def test_samples_of_a_window_are_the_newest_first_ones() -> None:
    samples = Samples()
    for start in range(4):
        samples.add(start, ["a", "a"], [b"%d" % start] * 2)
    assert samples.of(range(4), "aaaa") == [b"1", b"2", b"2", b"3", b"3"]


# ---- bad input -----------------------------------------------------------------------------------------------------
def test_odd_values_do_no_harm() -> None:
    metrics = {"mean": {"op": "mean", "field": "v"}, "top": {"op": "topn", "field": "g", "n": 2}}
    world = World(
        when="count >= 1 and mean > 0", metrics=metrics, group_by=["g"], new="v", silence_secs=5, throttle_secs=1
    )
    odd = (None, True, 1, 1.0, -0.0, 10**40, 1e200, "", "x" * 5_000, [1], {"a": 1}, "\n\x00\u2028", "ä")
    alarms = world.send(*({"g": value, "v": other} for value in odd for other in odd))
    alarms += world.tick(20)
    assert all("\n" not in alarm["title"] and len(alarm["title"]) <= 300 for alarm in alarms)
    assert {"threshold", "new", "silence"} == {alarm["reason"] for alarm in alarms}
    world.restart()
    assert alarms_of(world.plugin) != []


def test_late_events_and_those_far_ahead_are_counted_and_start_nothing() -> None:
    world = World(when="count >= 2", window_secs=10)
    world.send({"t": 0}, {"t": 30})
    assert world.send({"t": 1}, {"t": 2}) == []
    assert world.dropped("late") == 2
    world.plugin.watermark.saw(0)
    now = world.now
    world.send({"t": 10_000}, {"t": 10_001})
    assert world.now > now


def test_years_1970_and_2200_do_no_harm() -> None:
    world = World(when="count >= 2", yesterday=1, window_secs=10)
    for at in (0, 7_258_118_400_000, 0, 7_258_118_400_000):
        world.send({"t": (at - AT) / 1000}, {"t": (at - AT) / 1000})
        world.tick(2)
    world.restart()
    assert alarms_of(world.plugin) != []


def test_alarms_at_a_time_are_bounded_and_counted() -> None:
    world = World(new="v", max_groups=3, resolve_after_secs=2)
    assert len(world.send(*({"v": value} for value in range(10)))) == 4
    assert world.noted("alarm_over_limit") == 6
    assert len(world.tick(3)) == 4
    assert len(world.send({"v": 11})) == 1

"""Texts of any length as groups, distinct values, top lists and keys: they take little room and are not mixed up."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from dpiped.long_texts import KEPT, LONGEST, has_long_lines, held, held_with_lists
from tests.alarming import World, alarms_of
from tests.unit.plugins.filters_kit import AT, build, events_of, view

ROOM = 2_200
"""Bytes that a long text may take, of two bytes a character."""
LONG = 50_000
METRICS = {
    "users": {"op": "cardinality", "field": "v"},
    "pages": {"op": "topn", "field": "v", "n": 3},
    "heavy": {"op": "topn", "field": "v", "by": "n"},
    "oldest": {"op": "first", "field": "v"},
    "newest": {"op": "last", "field": "v"},
}
PLACES = ("dpiped.panes.shape.held", "dpiped.aggregates.columns.held", "dpiped.aggregates.columns.held_with_lists")


def text(number: int) -> str:
    """Long, and different only at its end."""
    return "ä" * LONG + str(number)


def window(type_name: str = "aggregate", **options: Any) -> Any:
    return build(type_name, window_secs=60, group_by=["g"], **{"metrics": METRICS, **options})


def size_of(plugin: Any) -> int:
    return sum(len(value or b"") for _, value in plugin.changes())


def feed(plugin: Any, events: list[dict[str, Any]], **head: Any) -> list[dict[str, Any]]:
    return events_of(plugin.process(view(plugin, events, **head)))


def as_before(monkeypatch: pytest.MonkeyPatch, made: Callable[[], Any]) -> Any:
    """What a version made that held all texts whole."""
    with monkeypatch.context() as patch:
        for place in PLACES:
            patch.setattr(place, lambda value: value)
        return made()


def test_a_body_without_long_lines_is_known_at_a_glance() -> None:
    chance = random.Random(1)
    around = [LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST]
    for _ in range(2_000):
        lengths = [chance.choice((1, 5, 300, LONGEST - 2, *around[: chance.randrange(5)])) for _ in range(9)]
        body = b"".join(b"x" * (length - 1) + b"\n" for length in lengths)
        assert has_long_lines(body) == (max(lengths) > LONGEST), lengths
    assert not has_long_lines(b"")


def test_what_is_held_is_short_and_a_value_of_its_own() -> None:
    just = "x" * LONGEST
    assert held(just) is just
    found = [held(just + end) for end in ("", "y", "z", "y")]
    assert len(set(found)) == 3
    assert found[1] == found[3] == held(found[1])
    assert found[1] == "x" * KEPT + ".." + found[1][-32:]
    assert held("\ud800" * 5_000)
    assert [held(value) for value in (None, True, 5, 1.5, ["x"])] == [None, True, 5, 1.5, ["x"]]
    assert held_with_lists(["x"]) == ["x"]
    assert held_with_lists([just, 1]) == held(json.dumps([just, 1], separators=(",", ":")))


def test_values_of_metrics() -> None:
    plugin = window()
    events = [{"g": "a", "v": text(number % 20), "n": number % 20} for number in range(210)]
    for at in range(0, len(events), 20):
        feed(plugin, events[at : at + 20])
    assert size_of(plugin) < 70 * ROOM
    (answer,) = events_of(plugin.finish())
    assert answer["users"] == 20
    assert {top["count"] for top in answer["pages"]} == {11}
    assert {top["value"] for top in answer["pages"]} <= {held(text(number)) for number in range(10)}
    assert {top["value"] for top in answer["heavy"]} <= {held(text(number)) for number in range(20)}
    assert answer["heavy"][0]["count"] == 19 * 10
    assert {answer["oldest"], answer["newest"]} <= {held(text(number)) for number in range(20)}


def test_groups_and_lists() -> None:
    plugin = window(metrics={"hits": {"op": "count"}, "newest": {"op": "last", "field": "l"}})
    feed(plugin, [{"g": text(number % 30), "l": [text(number)]} for number in range(60)])
    feed(plugin, [{"g": text(0), "l": ["short"]}, {"g": "b", "l": ["short"]}])
    assert size_of(plugin) < 31 * 2 * ROOM
    answers = {answer["g"]: answer for answer in events_of(plugin.finish())}
    assert {name: answer["hits"] for name, answer in answers.items()} == {
        **{held(text(number)): 2 for number in range(1, 30)},
        held(text(0)): 3,
        "b": 1,
    }
    assert answers["b"]["newest"] == ["short"]


def test_a_long_source() -> None:
    plugin = build("aggregate", window_secs=60, group_by=["_source"], metrics={"hits": {"op": "count"}})
    feed(plugin, [{}], source=text(1))
    (answer,) = events_of(plugin.finish())
    assert answer["_source"] == held(text(1))


def test_a_state_with_whole_texts_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [{"g": text(number % 3), "v": text(number % 7), "n": 1} for number in range(40)]
    second = [{"g": text(number % 4), "v": text(number % 9), "n": 2} for number in range(40)]

    def old() -> Any:
        plugin = window()
        feed(plugin, first)
        return list(plugin.changes())

    saved = as_before(monkeypatch, old)
    assert sum(len(value) for _, value in saved) > 20 * LONG
    restored, whole = window(), window()
    restored.restore(saved)
    feed(whole, first)
    for plugin in (restored, whole):
        feed(plugin, second)
    found, wanted = ({e["g"]: e for e in events_of(plugin.finish())} for plugin in (restored, whole))
    for answer in (*found.values(), *wanted.values()):  # of the same time, the one that was held whole may sort first
        assert {answer.pop("oldest")[:KEPT], answer.pop("newest")[:KEPT]} == {"ä" * KEPT}
    assert found == wanted


def test_panes_of_a_daemon_that_sends_whole_texts_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [{"g": text(number % 2), "v": text(number % 5), "n": 1} for number in range(40)]

    def panes() -> list[dict[str, Any]]:
        plugin = window(panes=True)
        return [*feed(plugin, events), *events_of(plugin.finish())]

    old, new = as_before(monkeypatch, panes), panes()
    assert max(map(len, (pane["g"] for pane in old))) > LONG
    merged = window("merge")
    answers = [*feed(merged, [*old, *new], accepted_ms=AT), *events_of(merged.finish())]
    assert sorted(answer["g"] for answer in answers) == sorted(held(text(number)) for number in range(2))
    assert [answer["users"] for answer in answers] == [5, 5]
    assert {top["count"] for answer in answers for top in answer["pages"]} == {8}


def test_dedupe_with_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_one() -> Any:
        return build("dedupe", fields=["k", "m"], count=True)

    events = [{"k": text(number), "m": [text(number)], "n": 1} for number in range(20)]
    plugin = build_one()
    assert len(feed(plugin, [*events, *events])) == 20
    changes = list(plugin.changes())
    assert sum(len(value or b"") for _, value in changes) < 21 * 2 * ROOM
    summaries = events_of(plugin.finish())
    assert [summary["k"] for summary in summaries] == [held(event["k"]) for event in events]
    assert [summary["m"] for summary in summaries] == [held_with_lists(event["m"]) for event in events]

    def old() -> Any:
        before = build_one()
        monkeypatch.setattr(before, "_told", lambda key: key)
        feed(before, events)
        return list(before.changes())

    restored = build_one()
    restored.restore(old())
    assert feed(restored, events) == []
    assert events_of(restored.finish()) == summaries


def test_an_alarm_of_new_values() -> None:
    world = World(new="v", learn_secs=0)
    world.send(*({"v": text(number)} for number in range(20)))
    assert len(alarms_of(world.plugin)) == 20
    assert size_of(world.plugin) < 20 * 6 * ROOM
    assert {alarm["group"]["v"] for alarm in alarms_of(world.plugin)} == {held(text(number)) for number in range(20)}

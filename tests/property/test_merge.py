"""Panes of several daemons, joined by `merge`, give the answers of one daemon that saw all events."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from dpiped.plugin import PackDraft, PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import emitted, view_of
from dpiped.view import PackView
from dpiped.windows import WindowPolicy
from plugins.filters.aggregate import AggregateConfig, AggregateFilter
from plugins.filters.merge import MergeConfig, MergeFilter

AT = 1_700_000_000_000
METRICS: dict[str, Any] = {
    "hits": {"op": "count"},
    "big": {"op": "count", "where": "v > 50"},
    "total": {"op": "sum", "field": "v"},
    "average": {"op": "mean", "field": "v"},
    "spread": {"op": "stddev", "field": "v"},
    "least": {"op": "min", "field": "v"},
    "oldest": {"op": "first", "field": "name"},
    "newest": {"op": "last", "field": "name"},
    "users": {"op": "cardinality", "field": "name"},
    "latency": {"op": "quantiles", "field": "v"},
    "pages": {"op": "topn", "field": "name", "n": 3},
    "shape": {"op": "histogram", "field": "v", "bounds": [0, 10, 50]},
    "share": {"op": "ratio", "where": "v > 50"},
    "speed": {"op": "rate"},
}
WINDOWS: list[dict[str, Any]] = [
    {"window_secs": 10},
    {"window_secs": 30, "slide_secs": 10},
    {"window": "hour", "timezone": "Asia/Kolkata"},
]
Plugin = AggregateFilter | MergeFilter


def context(name: str) -> PluginContext:
    policy = WindowPolicy(lateness_ms=3_600_000, max_ahead_ms=36_000_000)
    return PluginContext(name=name, telemetry=Telemetry(), window=policy)


def aggregate(**options: Any) -> AggregateFilter:
    config = AggregateConfig.model_validate({"group_by": ["area", "ok"], "metrics": METRICS, **options})
    return AggregateFilter(config, context("agg"))


def merge(**options: Any) -> MergeFilter:
    config = MergeConfig.model_validate({"group_by": ["area", "ok"], "metrics": METRICS, **options})
    return MergeFilter(config, context("merged"))


def view(plugin: Plugin, offset: int, body: bytes, **head: str) -> PackView:
    return view_of(body, plugin.fields(), offset=offset, accepted_ms=AT, **head)


def lines(drafts: list[PackDraft]) -> list[dict[str, Any]]:
    found = [json.loads(line) for draft in drafts for line in draft.body.splitlines()]
    return sorted(found, key=lambda event: (event["window_end"], str(event.get("area")), str(event.get("ok"))))


def events(chance: random.Random, amount: int) -> list[bytes]:
    return [
        json.dumps(
            {
                "@timestamp": AT + chance.randrange(100_000),
                "area": chance.choice(("us", "de", None)),
                "ok": chance.choice((True, 1, False)),
                "v": chance.choice((chance.uniform(-1e9, 1e9), chance.randrange(100), 0.1)),
                "name": f"n{chance.randrange(40)}",
            }
        ).encode()
        + b"\n"
        for _ in range(amount)
    ]


def panes_of(some: list[bytes], options: dict[str, Any]) -> list[PackDraft]:
    edge = aggregate(**options, panes=True)
    packs = [b"".join(some[at : at + 37]) for at in range(0, len(some), 37)]
    drafts = [draft for number, pack in enumerate(packs) for draft in edge.process(view(edge, number, pack))]
    return emitted([*drafts, *edge.finish()])


@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("daemons", [1, 3])
def test_it_answers_as_one_daemon_would(options: dict[str, Any], daemons: int) -> None:
    chance = random.Random(daemons)
    all_events = events(chance, 600)
    one = aggregate(**options)
    owed = [*one.process(view(one, 0, b"".join(all_events))), *one.finish()]
    parts: list[list[bytes]] = [[] for _ in range(daemons)]
    for event in all_events:
        chance.choice(parts).append(event)
    drafts = [draft for part in parts for draft in panes_of(part, options)]
    chance.shuffle(drafts)
    centre = merge(**options)
    found = [out for at, draft in enumerate(drafts) for out in centre.process(view(centre, at, draft.body))]
    assert lines([*found, *centre.finish()]) == lines(owed)


def test_groups_by_metadata_are_those_of_the_events_not_of_the_panes() -> None:
    """A pane's own head has another ident, perhaps a host."""
    options: dict[str, Any] = {
        "group_by": ["_ident", "_host", "_source", "_project"],
        "metrics": {"n": {"op": "count"}},
    }
    one, edge, centre = aggregate(**options), aggregate(**options, panes=True), merge(**options)
    heads: list[dict[str, str]] = [
        {"ident": "app.a", "host": "web-1", "source": "a.log", "project": "shop"},
        {"ident": "app.b", "host": "", "source": "", "project": "ops"},
    ]
    for at, head in enumerate(heads):
        body = b"".join(events(random.Random(at), 3 + at))
        for plugin in (one, edge):
            assert not emitted(list(plugin.process(view(plugin, at, body, **head))))
    on_the_way = {"ident": "panes", "host": "edge", "source": "x", "project": "shop"}
    for at, draft in enumerate(emitted(list(edge.finish()))):
        assert not emitted(list(centre.process(view(centre, at, draft.body, **on_the_way))))
    answers = lines(list(centre.finish()))
    assert [event["n"] for event in answers if event["_ident"] == "app.b"]
    assert sorted(map(str, answers)) == sorted(map(str, lines(list(one.finish()))))


@pytest.mark.parametrize("damage", ["no pane", "", 5, None, "AAAA", "/w==", [1]])
def test_what_is_no_pane_is_counted(damage: Any) -> None:
    (draft,) = panes_of(events(random.Random(1), 1), {"window_secs": 10})
    event = json.loads(draft.body)
    assert _refused({**event, "_pane": damage}) == 1
    assert _refused({**event, "window_start": event["window_start"] + 1}) == 1
    assert _refused({**event, "window_start": damage}) == 1
    assert _refused(event) == 0


def test_a_pane_of_other_metrics_is_counted() -> None:
    edge = aggregate(window_secs=10, panes=True, metrics={"hits": {"op": "count"}})
    drafts = [*edge.process(view(edge, 0, events(random.Random(1), 1)[0])), *edge.finish()]
    assert _refused(json.loads(drafts[0].body)) == 1


def _refused(event: dict[str, Any]) -> int:
    centre = merge(window_secs=10)
    drafts = [*centre.process(view(centre, 0, json.dumps(event).encode() + b"\n")), *centre.finish()]
    refused = int(centre.context.telemetry.metrics.dropped.labels("merged", "not_a_pane_of_this_shape")._value.get())
    assert sum(draft.count for draft in drafts) == 1 - refused
    return refused

"""One behaviour for every filter: what it emits is canonical and a function of what it read; states survive restarts.

A new filter fails here until it has a config in CASES.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from dpiped import registry
from dpiped.config.base import is_ident
from dpiped.panes import WindowedFilter, encode_pane
from dpiped.plugin import PAUSE, Filter, PackDraft, PluginContext, StatefulFilter
from dpiped.telemetry import Telemetry
from dpiped.testing import view_of
from dpiped.view import PackView
from dpiped.windows import WindowPolicy

CASES: dict[str, dict[str, Any]] = {
    "dedupe": {"fields": ["g", "n"], "window_secs": 2, "max_keys": 15, "count": True},
    "sample": {"rate": 2, "by": ["g"], "always": "n == 1", "add_rate": True},
    "transform": {
        "steps": [
            {"do": "rename", "fields": {"n": "é.n"}, "where": "n > 2"},
            {"do": "convert", "fields": ["é.n", "g"], "to": "string"},
            {"do": "normalise", "field": "g"},
        ],
        "mark": "_failed",
        "prefix": "clean",
    },
    "aggregate": {"window_secs": 2, "slide_secs": 1, "group_by": ["g", "_host"], "metrics": {"hits": {"op": "count"}}},
    "alarm": {
        "window_secs": 2, "slide_secs": 1, "group_by": ["g", "_host"], "when": "count >= 4", "change": 1.0, "base": 2,
        "new": "n", "silence_secs": 2, "throttle_secs": 1, "resolve_after_secs": 1,
    },
    "merge": {"window_secs": 2, "slide_secs": 1, "group_by": ["g", "_host"], "metrics": {"hits": {"op": "count"}}},
    "relabel": {"rules": [{"where": "n > 3", "ident": "big", "add": {"é": "x"}, "drop": ["g"]}], "unmatched": "pass"},
}  # fmt: skip
ALL = sorted(name for kind, name in registry.all_types() if kind == "filter")
PACKS = 40


def build(name: str) -> Filter[Any]:
    assert name in CASES, f"filter {name!r} has no config in {__file__}"
    plugin_class: Any = registry.get("filter", name)
    context = PluginContext(name="flt", telemetry=Telemetry(), window=WindowPolicy(lateness_ms=500, idle_ms=2_000))
    plugin = plugin_class(plugin_class.config_class.model_validate(CASES[name]), context)
    assert isinstance(plugin, Filter)
    return plugin


def view(plugin: Filter[Any], number: int) -> PackView:
    """One of many different packs: one event or several, unicode, missing and odd fields."""
    at = 1_700_000_000_000 + number * 300
    events = [
        {"@timestamp": at + n * 7, "n": n, "g": ("ä", None, True, 5, [1])[(number + n) % 5]}
        for n in range(1 + number % 6)
    ]
    if isinstance(plugin, WindowedFilter) and plugin.type_name == "merge":
        seen = plugin.shape.new()
        plugin.shape.update(seen, range(number))  # type: ignore[arg-type]
        data = encode_pane({}, plugin.shape, seen)
        events = [{**event, **json.loads(data), "window_start": at // 1000 * 1000} for event in events]
    body = b"".join(json.dumps(event, ensure_ascii=n % 2 == 0).encode() + b"\n" for n, event in enumerate(events))
    known = {"project": "rs", "ident": "app", "host": "web-7", "offset": number, "accepted_ms": at}
    return view_of(body, plugin.fields(), **known)


def step(plugin: Filter[Any], number: int) -> list[PackDraft]:
    if number % 7 == 6:
        return emitted(plugin.tick(1_700_000_000_000 + number * 300)) if isinstance(plugin, StatefulFilter) else []
    return emitted(plugin.process(view(plugin, number)))


def emitted(drafts: Iterable[PackDraft]) -> list[PackDraft]:
    """What a runner would append."""
    return [draft for draft in drafts if draft is not PAUSE]


@pytest.mark.parametrize("name", ALL)
def test_what_it_emits_is_canonical(name: str) -> None:
    plugin = build(name)
    drafts = [draft for number in range(PACKS) for draft in step(plugin, number)]
    if isinstance(plugin, StatefulFilter):
        drafts += emitted(plugin.finish())
    assert drafts
    for draft in drafts:
        lines = draft.body.splitlines(keepends=True)
        events = [json.loads(line) for line in lines]
        assert len(lines) == draft.count > 0
        assert all(line.startswith(b"{") and line.endswith(b"}\n") for line in lines)
        stamps = [event["@timestamp"] for event in events]
        assert (min(stamps), max(stamps)) == (draft.min_ts, draft.max_ts)
        assert all(type(stamp) is int for stamp in stamps)
        assert not draft.ident or is_ident(draft.ident)


@pytest.mark.parametrize("name", ALL)
def test_the_same_packs_give_the_same_emissions(name: str) -> None:
    one, two = build(name), build(name)
    for number in range(PACKS):
        assert step(one, number) == step(two, number)


@pytest.mark.parametrize(
    "name", [name for name in ALL if issubclass(registry.all_types()["filter", name], StatefulFilter)]
)
@pytest.mark.parametrize("every", [1, 3, 10])
def test_a_restart_and_taking_changes_alter_nothing(name: str, every: int) -> None:
    undisturbed, plugin = build(name), build(name)
    assert isinstance(plugin, StatefulFilter)
    stored: dict[bytes, bytes] = {}
    for number in range(PACKS):
        assert step(plugin, number) == step(undisturbed, number)
        for key, value in plugin.changes():
            if value is None:
                stored.pop(key, None)
            else:
                stored[key] = value
        if number % every == 0:
            plugin = build(name)
            assert isinstance(plugin, StatefulFilter)
            plugin.restore(sorted(stored.items()))
    assert isinstance(undisturbed, StatefulFilter)
    assert plugin.fingerprint() == undisturbed.fingerprint() != ""
    assert emitted(plugin.finish()) == emitted(undisturbed.finish())


@pytest.mark.parametrize("name", ALL)
def test_it_reads_only_the_fields_it_names(name: str) -> None:
    plugin = build(name)
    assert all(isinstance(field, str) for field in plugin.fields())
    step(plugin, 0)  # the view holds nothing but those: another one would raise

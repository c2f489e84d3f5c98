"""`aggregate` with every op and option: what restarts leave, and how often changes are taken, nobody can see."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dpiped.plugin import PackDraft, PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import emitted, view_of
from dpiped.view import PackView
from dpiped.windows import WindowPolicy
from plugins.filters.aggregate import AggregateConfig, AggregateFilter

AT = 1_700_000_000_000
METRICS: dict[str, Any] = {
    "hits": {"op": "count"},
    "big": {"op": "count", "where": "v > 50"},
    "total": {"op": "sum", "field": "v"},
    "least": {"op": "min", "field": "v"},
    "most": {"op": "max", "field": "v"},
    "average": {"op": "mean", "field": "v"},
    "spread": {"op": "stddev", "field": "v"},
    "speed": {"op": "rate"},
    "oldest": {"op": "first", "field": "name"},
    "newest": {"op": "last", "field": "name"},
    "users": {"op": "cardinality", "field": "name"},
    "latency": {"op": "quantiles", "field": "v"},
    "pages": {"op": "topn", "field": "name", "n": 3},
    "shape": {"op": "histogram", "field": "v", "bounds": [0, 10, 50]},
    "share": {"op": "ratio", "where": "v > 50"},
}
ODD = (b'"text"', b"null", b"true", b"[1]", b'{"a":1}', b'""', b"1e200", b"9" * 40, b"-0.0")


def build(**options: Any) -> AggregateFilter:
    config = AggregateConfig.model_validate({"group_by": ["area"], "metrics": METRICS, **options})
    policy = WindowPolicy(lateness_ms=2_000, idle_ms=4_000, max_ahead_ms=60_000, tick_ms=1_000)
    return AggregateFilter(config, PluginContext(name="agg", telemetry=Telemetry(), window=policy))


def pack_of(offset: int, chance: random.Random, plugin: AggregateFilter) -> PackView:
    base = AT + offset * 1_500
    lines = []
    for _ in range(chance.randrange(1, 30)):
        at = base - chance.randrange(6_000)
        odd = chance.randrange(5) == 0
        value = chance.choice(ODD) if odd else b"%d" % chance.randrange(100)
        name = chance.choice(ODD) if odd else b'"n%d"' % chance.randrange(2_000)
        lines.append(b'{"@timestamp":%d,"area":"a%d","v":%b,"name":%b}\n' % (at, chance.randrange(3), value, name))
    known = {"epoch": "e", "offset": offset, "project": "rs", "ident": "app", "accepted_ms": base}
    return view_of(b"".join(lines), plugin.fields(), **known)


def step(plugin: AggregateFilter, number: int, seed: int) -> list[tuple[str, bytes]]:
    chance = random.Random(f"{seed}/{number}")
    if chance.randrange(3) == 0:
        drafts: list[PackDraft] = emitted(plugin.tick(AT + number * 1_500))
    else:
        drafts = emitted(plugin.process(pack_of(number, chance, plugin)))
    return [(draft.ident, draft.body) for draft in drafts]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [
        {"window_secs": 10},
        {"window_secs": 12, "slide_secs": 4, "errors": True},
        {"window_secs": 10, "emit_every_secs": 2, "id": "window"},
        {"window": "hour", "timezone": "Europe/Berlin", "emit_every_secs": 5, "keep_periods": 3},
    ],
    ids=lambda options: ",".join(map(str, options)),
)
def test_restarts_change_no_byte(options: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    undisturbed, plugin = build(**options), build(**options)
    stored: dict[bytes, bytes] = {}
    told = 0
    for number in range(60):
        expected = step(undisturbed, number, seed)
        assert step(plugin, number, seed) == expected
        told += len(expected)
        restart = chance.randrange(4) == 0
        if restart or chance.randrange(2):
            for key, value in plugin.changes():
                if value is None:
                    stored.pop(key, None)
                else:
                    stored[key] = value
        if restart:
            plugin = build(**options)
            plugin.restore(sorted(stored.items()))
    assert [draft.body for draft in emitted(plugin.finish())] == [draft.body for draft in emitted(undisturbed.finish())]
    assert told or options.get("window")


@pytest.mark.parametrize("seed", range(3))
def test_a_reset_forgets_what_open_windows_hold_and_a_restart_keeps_it_forgotten(seed: int) -> None:
    plugin, stored = build(window_secs=10_000), dict[bytes, bytes]()
    for number in range(20):
        step(plugin, number, seed)
        stored.update((key, value) for key, value in plugin.changes() if value is not None)
    assert emitted(build_from(stored).finish()) != []
    plugin.reset()
    for key, value in plugin.changes():
        if value is None:
            stored.pop(key, None)
        else:
            stored[key] = value
    assert emitted(build_from(stored).finish()) == emitted(plugin.finish()) == []


def build_from(stored: dict[bytes, bytes]) -> AggregateFilter:
    plugin = build(window_secs=10_000)
    plugin.restore(sorted(stored.items()))
    return plugin

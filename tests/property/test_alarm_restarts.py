"""`alarm` with every condition: what restarts leave, and how often changes are taken, nobody can see."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from dpiped.questions import Question
from dpiped.testing import emitted
from dpiped.windows import WindowPolicy
from plugins.filters.alarm import AlarmFilter
from tests.alarming import AT, alarms_of, build, pack_of

POLICY = WindowPolicy(lateness_ms=2_000, idle_ms=4_000, max_ahead_ms=60_000, on_late="emit", tick_ms=1_000)
METRICS = {
    "latency": {"op": "quantiles", "field": "v", "q": [0.5, 0.95]},
    "users": {"op": "cardinality", "field": "name"},
    "speed": {"op": "rate"},
    "top": {"op": "topn", "field": "name", "n": 2},
}
ODD = (
    b'"text"',
    b"null",
    b"true",
    b"1",
    b"1.0",
    b"[1]",
    b'{"a":1}',
    b'""',
    b"1e200",
    b"9" * 40,
    b"-0.0",
    b'"k\xc3\xa4se"',
)
CASES: dict[str, dict[str, Any]] = {
    "threshold": {"when": "count >= 4 and latency.p95 > 20", "metrics": METRICS, "window_secs": 10},
    "sliding": {"when": "count >= 3", "window_secs": 12, "slide_secs": 4, "throttle_secs": 3, "resolve_after_secs": 4},
    "closed": {"when": "users < 5", "metrics": METRICS, "window_secs": 6, "early": False, "throttle_secs": 0},
    "change": {"change": 0.5, "base": 2, "window_secs": 9, "slide_secs": 3, "throttle_secs": 5, "max_groups": 6},
    "history": {"yesterday": 0.3, "last_week": 0.1, "base": 1, "window_secs": 3, "timezone": "Europe/Berlin"},
    "calendar": {"when": "count > 5", "window": "hour", "yesterday": 1, "throttle_secs": 7},
    "silence": {"silence_secs": 4, "forget_secs": 20, "throttle_secs": 3, "resolve_after_secs": 2, "max_groups": 5},
    "new": {"new": "name", "learn_secs": 10, "max_values": 25, "resolve_after_secs": 3},
    "instant": {"window_secs": 0, "throttle_secs": 2, "resolve_after_secs": 3, "ignore": ["n3"]},
    "parser": {"parser": "syslogng_stats", "parser_field": "text", "when": "count > 3", "window_secs": 5},
    "all": {
        "when": "count >= 6", "change": 1.0, "base": 3, "yesterday": 1.0, "silence_secs": 5, "new": "name",
        "window_secs": 10, "slide_secs": 5, "throttle_secs": 6, "resolve_after_secs": 5, "max_groups": 40,
        "normalise": {"text": ["digits"]}, "group_by": ["area", "text"],
    },
}  # fmt: skip


def lines_of(offset: int, chance: random.Random, days: int) -> bytes:
    base = AT + offset * 1_500 + (days * 86_400_000 if days and offset >= 40 else 0)
    lines = []
    for _ in range(chance.randrange(1, 12)):
        at = base - chance.randrange(6_000)
        odd = chance.randrange(5) == 0
        value = chance.choice(ODD) if odd else b"%d" % chance.randrange(100)
        name = chance.choice(ODD) if odd else b'"n%d"' % chance.randrange(40)
        area = chance.choice(ODD) if chance.randrange(9) == 0 else b'"a%d"' % chance.randrange(3)
        text = b"\"Log statistics; dropped='program(/x%d)=%d'\"" % (chance.randrange(3), chance.randrange(2))
        if chance.randrange(4):
            text = b'"line %d"' % chance.randrange(99)
        lines.append(b'{"@timestamp":%d,"area":%b,"v":%b,"name":%b,"text":%b}\n' % (at, area, value, name, text))
    return b"".join(lines)


def step(plugin: AlarmFilter, number: int, seed: int, days: int) -> list[tuple[str, str | None, bytes]]:
    """A pack, a tick or what an operator says, by chance but always the same; what is emitted."""
    chance = random.Random(f"{seed}/{number}")
    now = AT + number * 1_500 + (days * 86_400_000 if days and number >= 40 else 0)
    kind = chance.randrange(12)
    if kind < 5:
        drafts = emitted(plugin.tick(now))
    elif kind == 5:
        alarms = alarms_of(plugin)
        what = chance.choice(("ack", "unack", "silence", "unsilence"))
        fingerprint = chance.choice(alarms)["fingerprint"] if alarms else "0" * 16
        said = {"control": what, "fingerprint": fingerprint, "secs": chance.randrange(20), "at_ms": now}
        drafts = emitted(plugin.command(said))
    else:
        drafts = emitted(plugin.process(pack_of(plugin, number, lines_of(number, chance, days), now)))
    return [(draft.ident, draft.project, draft.body) for draft in drafts]


def save(plugin: AlarmFilter, stored: dict[bytes, bytes]) -> None:
    for key, value in plugin.changes():
        if value is None:
            stored.pop(key, None)
        else:
            stored[key] = value


def state_of(plugin: AlarmFilter) -> str:
    return json.dumps([alarms_of(plugin), list(plugin.answers(Question("current"))), plugin.status()], sort_keys=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
def test_restarts_change_no_byte(case: str, seed: int) -> None:
    options = {"group_by": ["area"], **CASES[case]}
    days = 7 if case == "history" and seed % 2 else 1
    chance = random.Random(seed)
    undisturbed, plugin = build(POLICY, **options), build(POLICY, **options)
    stored: dict[bytes, bytes] = {}
    told = 0
    for number in range(90):
        expected = step(undisturbed, number, seed, days)
        assert step(plugin, number, seed, days) == expected
        told += len(expected)
        restart = chance.randrange(4) == 0
        if restart or chance.randrange(2):
            save(plugin, stored)
        if restart:
            plugin = build(POLICY, **options)
            plugin.restore(sorted(stored.items()))
        assert state_of(plugin) == state_of(undisturbed)
    assert [draft.body for draft in emitted(plugin.finish())] == [draft.body for draft in emitted(undisturbed.finish())]
    assert told


@pytest.mark.parametrize("case", CASES)
def test_a_reset_forgets_everything_also_after_a_restart(case: str) -> None:
    options = {"group_by": ["area"], **CASES[case]}
    plugin, stored = build(POLICY, **options), dict[bytes, bytes]()
    for number in range(40):
        step(plugin, number, 1, 1)
        save(plugin, stored)
    plugin.reset()
    save(plugin, stored)
    again = build(POLICY, **options)
    again.restore(sorted(stored.items()))
    assert alarms_of(again) == alarms_of(plugin) == []
    assert emitted(again.finish()) == emitted(plugin.finish()) == []
    assert again.status() == plugin.status()


def test_what_a_config_before_this_one_kept_goes() -> None:
    options = {"group_by": ["area"], "when": "count > 3", "window_secs": 3}
    plugin, stored = build(POLICY, **options, silence_secs=4, yesterday=1.0), dict[bytes, bytes]()
    for number in range(40):
        step(plugin, number, 1, 1)
        save(plugin, stored)
    assert {key[:1] for key in stored} >= {b"h", b"w"}
    plugin = build(POLICY, **options)
    plugin.restore(sorted(stored.items()))
    save(plugin, stored)
    assert not {key[:1] for key in stored} & {b"h", b"w"}

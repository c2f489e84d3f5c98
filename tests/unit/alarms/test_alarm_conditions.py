"""Each condition by itself: when it makes an alarm, what that says, when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from dpiped.alarms import syslogng
from dpiped.testing import emitted, view_of
from dpiped.windows import WindowPolicy
from tests.alarming import AT, World, alarms_of, build, states

QUANTILES = {"latency": {"op": "quantiles", "field": "e", "q": [0.5, 0.95]}}


def many(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [dict(fields) for _ in range(count)]


# ---- threshold -----------------------------------------------------------------------------------------------------
def test_an_open_window_is_judged_at_the_next_tick_and_says_all_there_is_to_know() -> None:
    world = World(when="count >= 3", group_by=["host", "n"], severity=7, title="{count} of {host}/{n} {{x}}")
    assert world.send(*many(3, host="a", n=5), *many(2, host="b")) == []
    (alarm,) = world.tick()
    samples = alarm.pop("samples")
    assert samples == [{"@timestamp": AT, "host": "a", "n": 5}] * 3
    assert len(alarm.pop("fingerprint")) == 16
    assert alarm == {
        "@timestamp": AT + 1_000,
        "alarm": "al",
        "state": "firing",
        "severity": 7,
        "score": 21,
        "title": "3 of a/5 {x}",
        "reason": "threshold",
        "host": "a",
        "n": 5,
        "group": {"host": "a", "n": 5},
        "window_start": AT,
        "window_end": AT + 60_000,
        "values": {"count": 3},
    }


def test_a_quantile_is_known_by_its_short_name_too() -> None:
    for when in ("count >= 2 and p95 > 1.5", "latency.p95 > 1.5", "latency.p50 < latency.p95 and count > 1"):
        world = World(when=when, metrics=QUANTILES, early=True)
        assert world.send({"e": 0.1}, {"e": 9}) == []
        assert states(world.tick()) == [("firing", "threshold")], when


def test_a_window_is_judged_when_it_closes_also_without_ticks() -> None:
    world = World(when="count >= 2", window_secs=10, throttle_secs=0)
    alarms = world.send({"t": 0}, {"t": 1}, {"t": 11}, {"t": 25}, {"t": 26}, {"t": 60})
    assert [(alarm["state"], alarm["window_start"] - AT) for alarm in alarms] == [("firing", 0), ("again", 20_000)]
    assert [alarm["@timestamp"] for alarm in alarms] == [min(AT + end, world.now) for end in (10_000, 30_000)]


def test_early_false_waits_for_the_end_of_a_window() -> None:
    world = World(when="count < 3", early=False, window_secs=10, resolve_after_secs=0)
    assert world.send({"t": 0}, {"t": 1}) == []
    assert world.tick(3) == []
    alarms = world.send({"t": 15}, {"t": 15}, {"t": 15}, {"t": 16})
    assert states(alarms) == [("firing", "threshold")]
    assert states(world.tick(40)) == [("resolved", "threshold")]


def test_a_resolved_alarm_can_fire_again() -> None:
    world = World(when="count >= 2", window_secs=10, resolve_after_secs=5)
    world.send({}, {})
    assert states(world.tick(16)) == [("firing", "threshold")]  # the window is closed at the twelfth
    later = world.tick(1)
    assert states(later) == [("resolved", "threshold")]
    assert later[0]["samples"] == [] and later[0]["values"] == {"count": 2}
    assert later[0]["@timestamp"] == AT + 15_000
    world.send({}, {})
    assert states(world.tick()) == [("firing", "threshold")]


def test_a_gap_in_event_time_resolves_before_the_next_window_fires() -> None:
    world = World(when="count >= 2", window_secs=10, resolve_after_secs=20)
    events = [{"t": 0}, {"t": 0}, {"t": 60}, {"t": 60}, {"t": 100}]
    alarms = world.send(*events)
    assert [alarm["state"] for alarm in alarms] == ["firing", "resolved", "firing"]
    assert [alarm["window_start"] - AT for alarm in alarms] == [0, 0, 60_000]


def test_a_pause_within_a_window_makes_no_event_late() -> None:
    world = World(when="count >= 3", window_secs=60)
    for _ in range(3):
        world.send({})
        found = world.tick(19)
    assert states(found) == [("firing", "threshold")]
    assert world.dropped("late") == 0


def test_sliding_windows_are_judged_while_they_are_the_newest() -> None:
    world = World(when="count >= 4", window_secs=10, slide_secs=1)
    found = []
    for _ in range(8):
        found += world.send({})
        found += world.tick()
    assert states(found) == [("firing", "threshold")]
    assert (found[0]["window_start"] - AT, found[0]["window_end"] - AT) == (-6_000, 4_000)
    assert [sample["@timestamp"] - AT for sample in found[0]["samples"]] == [0, 1_000, 2_000, 3_000]


def test_of_sliding_windows_only_the_newest_is_told_at_a_tick() -> None:
    world = World(when="count >= 1", window_secs=10, slide_secs=1, throttle_secs=0)
    for _ in range(5):
        world.send({})
        assert [alarm["window_end"] for alarm in world.tick()] == [world.now]


# ---- change --------------------------------------------------------------------------------------------------------
def test_growth_against_the_window_before_multiplies_the_score() -> None:
    world = World(change=1.5, base=10, window_secs=10, abnormal_factor=3, severity=2)
    assert world.send(*many(3, t=1)) == []
    assert world.send(*many(9, t=11)) == []
    assert world.send(*many(22, t=21)) == []
    assert world.send(*many(24, t=31)) == []
    (alarm,) = world.send(*many(60, t=41), {"t": 60})
    assert (alarm["reason"], alarm["score"], alarm["values"]) == ("change", 60 * 2 * 3, {"count": 60})
    assert alarm["previous"] == {"count": 24}


@pytest.mark.parametrize(("first", "found"), [(0, []), (-20, [("firing", "change")])])
def test_growth_from_nothing_counts_only_where_the_window_before_was_read(first: int, found: Any) -> None:
    world = World(change=1.5, base=10, window_secs=10, group_by=["g"])
    assert world.send({"t": first, "g": "other"}) == []
    assert states(world.send(*many(12, t=5, g="a"), {"t": 14})) == found


def test_growth_against_yesterday_and_last_week() -> None:
    for key, days in (("yesterday", 1), ("last_week", 7)):
        world = World(window_secs=3_600, base=10, **{key: 2.0})
        hour = 3_600
        assert world.send(*many(10, t=hour), {"t": 2 * hour + 5}) == []
        later = days * 86_400 + hour
        assert world.send({"t": later - hour}, *many(29, t=later), {"t": later + hour + 5}) == []
        later += days * 86_400
        (alarm,) = world.send(*many(87, t=later), {"t": later + hour + 5})
        assert (alarm["reason"], alarm["score"]) == (key, 87 * 10 * 2)
        assert "previous" not in alarm


def test_a_reset_forgets_the_window_before() -> None:
    world = World(change=1.5, base=10, window_secs=10)
    world.send({"t": 1})
    world.plugin.reset()
    assert world.send(*many(20, t=11)) + world.tick() == []


# ---- silence -------------------------------------------------------------------------------------------------------
def test_a_silent_group_is_told_by_counted_ticks_and_over_when_it_comes_back() -> None:
    world = World(silence_secs=5, group_by=["host"], resolve_after_secs=2, throttle_secs=100)
    world.send({"host": "a"}, {"host": "b"})
    world.tick(3)
    world.send({"host": "b"})
    assert world.tick(1) == []
    (alarm,) = world.tick(2)
    assert (alarm["state"], alarm["reason"], alarm["group"]) == ("firing", "silence", {"host": "a"})
    assert alarm["values"] == {"count": 0, "silent_secs": 5} and alarm["score"] == 10
    assert alarm["title"] == "al: nothing came for 5 s (host=a)"
    world.send({"host": "a"}, {"host": "b"})
    assert states(world.tick(1)) == []
    assert [(a["state"], a["group"]["host"]) for a in world.tick(3)] == [("resolved", "a")]


def test_a_group_that_falls_silent_while_its_alarm_is_open_is_told_at_once() -> None:
    world = World(when="count >= 1", silence_secs=5, group_by=["host"], throttle_secs=600, resolve_after_secs=600)
    world.send({"host": "db", "n": 1})
    assert states(world.tick(4)) == [("firing", "threshold")]
    assert states(world.tick(30)) == [("firing", "silence")]
    world.send({"host": "db", "n": 1})
    assert states(world.tick(4)) == []  # the other reason is throttled as before
    assert states(world.tick(30)) == [("firing", "silence")]


def test_time_in_which_the_daemon_was_down_is_no_silence() -> None:
    world = World(silence_secs=5, group_by=["host"])
    world.send({"host": "a"})
    world.tick(3)
    world.restart()
    world.now += 3_600_000
    assert world.tick(1) == []
    assert [alarm["group"] for alarm in world.tick(1)] == [{"host": "a"}]
    world.restart()
    assert world.tick(10) == []  # it is still the same alarm


def test_without_groups_silence_needs_no_first_event() -> None:
    world = World(silence_secs=3)
    assert world.tick(3) == []
    assert states(world.tick(1)) == [("firing", "silence")]


def test_who_is_silent_for_very_long_is_forgotten() -> None:
    world = World(silence_secs=2, forget_secs=6, group_by=["host"], resolve_after_secs=1)
    world.send({"host": "a"})
    assert states(world.tick(20)) == [("firing", "silence"), ("resolved", "silence")]
    assert len(alarms_of(world.plugin)) == 0
    assert not any(key.startswith(b"w") for key in _stored(world))


def _stored(world: World) -> dict[bytes, bytes]:
    world.save()
    return world.stored


# ---- new -----------------------------------------------------------------------------------------------------------
def test_each_new_value_is_an_alarm_of_its_own() -> None:
    world = World(new="country", group_by=["shop"])
    alarms = world.send({"shop": 1, "country": "de"}, {"country": "de"}, {"shop": 1, "country": 7}, {"shop": 1})
    assert [alarm["group"] for alarm in alarms] == [{"shop": 1, "country": "de"}, {"shop": 1, "country": 7}]
    assert states(alarms) == [("firing", "new")] * 2
    assert alarms[0]["samples"] == [{"@timestamp": AT, "shop": 1, "country": "de"}]
    world.restart()
    assert world.send({"country": "de"}, {"country": True}, {"country": None}, {"country": [1]}) != []
    assert world.send({"country": "de"}, {"country": True}, {"country": 7.0}, {"country": 7}) == []


def test_values_are_learnt_first_and_bounded() -> None:
    world = World(new="ip", learn_secs=10, max_values=3)
    assert world.send({"ip": "a"}, {"ip": "b"}) == []
    world.tick(10)
    assert [alarm["group"] for alarm in world.send({"ip": "b"}, {"ip": "c"}, {"ip": "d"}, {"ip": "d"})] == [{"ip": "c"}]
    assert world.noted("new_value_over_limit") == 2
    world.plugin.reset()
    assert world.send({"ip": "a"}) == []  # it learns anew
    assert len(world.send({"ip": "b"}, at=30)) == 1
    world.send({"ip": "c"})
    world.restart()
    assert world.send({"ip": "e"}) == [] and world.noted("new_value_over_limit") == 1
    assert world.send({"ip": "a"}, {"ip": "b"}, {"ip": "c"}) == []


# ---- instant, parser -----------------------------------------------------------------------------------------------
def test_every_event_is_an_alarm() -> None:
    world = World(window_secs=0, group_by=["host"], throttle_secs=0, severity=3)
    alarms = world.send({"host": "a", "x": 1}, {"host": "a", "x": 2}, {"host": "b"})
    assert [(a["state"], a["reason"], a["score"], a["group"]) for a in alarms] == [
        ("firing", "instant", 3, {"host": "a"}),
        ("again", "instant", 3, {"host": "a"}),
        ("firing", "instant", 3, {"host": "b"}),
    ]
    assert [a["samples"] for a in alarms] == [
        [{"@timestamp": AT, **e}] for e in ({"host": "a", "x": 1}, {"host": "a", "x": 2}, {"host": "b"})
    ]
    assert states(world.tick(61)) == [("resolved", "instant")] * 2


STATISTICS = (
    "Log statistics; processed='center(queued)=9', dropped='program(/usr/bin/agent)={}', "
    "dropped='program(/bin/other)=0', dropped='tcp(AF_INET(10.0.0.1:514))=0'"
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dropped='program(/usr/bin/agent)=12'", {"/usr/bin/agent": 12}),
        ("dropped='dst.program(d_agent#0,/usr/bin/agent \"-x(1)\")=12', ", {'/usr/bin/agent "-x(1)"': 12}),
        ("dropped='tcp(AF_INET(10.0.0.1:514))=77', stored='a(b)=3'", {"tcp(AF_INET(10.0.0.1:514))": 77}),
        ("dropped='program(/a)=0', dropped='program(/b)=1'", {"/b": 1}),
        ("processed='program(/a)=5', dropped=program(/c)=2", {"/c": 2}),
    ],
)
def test_what_syslogng_says_it_dropped(text: str, found: dict[str, int]) -> None:
    assert syslogng.dropped(text) == found


def test_dropped_messages_of_syslogng_are_an_alarm_and_its_statistics_are_swallowed() -> None:
    world = World(parser="syslogng_stats", when="count >= 2", group_by=["host"])
    line = {"host": "a", "message": STATISTICS.format(12)}
    (alarm,) = world.send(line, {"host": "a", "message": STATISTICS.format(0)}, {"host": "a", "message": "ok"})
    assert (alarm["severity"], alarm["score"], alarm["values"]["dropped"]) == (1000, 12_000, 12)
    assert alarm["group"] == {"host": "a", "program": "/usr/bin/agent"}
    assert alarm["samples"] == [{"@timestamp": AT, **line}]
    assert world.tick(1) == []  # one other line has passed
    world.send({"host": "a", "message": "Log statistics are fine"})
    assert [a["values"] for a in world.tick(1)] == [{"count": 2}]


# ---- ignore, normalise, groups -------------------------------------------------------------------------------------
def test_what_is_ignored_does_not_count() -> None:
    world = World(when="count >= 1", ignore=["health", "regex:GET /ping$"], ignore_field="m", group_by=["m"])
    texts = ("GET /health", "GET /ping", "GET /ping?", None, 5)
    world.send(*({"m": text} for text in texts), host="web-1")
    alarms = world.tick()
    assert [alarm["group"] for alarm in alarms] == [{"m": "GET /ping?"}, {}, {"m": 5}]
    assert [alarm["samples"][0]["_host"] for alarm in alarms] == ["web-1"] * 3
    assert world.noted("ignored") == 2
    world = World(when="count >= 1", ignore=['"code": 404', "regex:ä|\\\\u00e4"])
    world.send({"code": 404}, {"m": "käse"}, {"code": 405})
    assert [alarm["values"] for alarm in world.tick()] == [{"count": 1}]


def test_equal_errors_are_one_group() -> None:
    rules = ["digits", {"pattern": "batch=[a-z]+", "replace": "batch=*"}]
    world = World(when="count >= 2", group_by=["m", "host"], normalise={"m": rules})
    world.send(
        {"m": "user 12 batch=ab", "host": "h1"}, {"m": "user 7 batch=c", "host": "h1"}, {"m": "user 7", "host": "h2"}
    )
    assert [alarm["group"] for alarm in world.tick()] == [{"m": "user ? batch=*", "host": "h1"}]


def test_a_field_of_the_group_that_is_called_like_one_of_the_alarm_stands_in_group_only() -> None:
    world = World(when="count >= 1", group_by=["severity", "state", "previous"])
    world.send({"severity": "err", "state": "x", "previous": 1})
    (alarm,) = world.tick()
    assert (alarm["severity"], alarm["state"], "previous" in alarm) == (10, "firing", False)
    assert alarm["group"] == {"severity": "err", "state": "x", "previous": 1}


def test_calendar_windows() -> None:
    world = World(when="count >= 2", window="hour", timezone="Asia/Kolkata", policy=WindowPolicy(lateness_ms=0))
    world.send({}, {})
    (alarm,) = world.tick()
    assert (alarm["window_end"] - alarm["window_start"], alarm["window_start"] % 3_600_000) == (3_600_000, 1_800_000)


def test_an_alarm_is_of_the_project_of_its_group() -> None:
    plugin = build(when="count >= 1", group_by=["_project"])
    for offset, project in enumerate(("shop", "bank")):
        body = b'{"@timestamp":%d}\n' % AT
        emitted(plugin.process(view_of(body, plugin.fields(), offset=offset, project=project, accepted_ms=AT)))
    assert [draft.project for draft in emitted(plugin.tick(AT + 1_000))] == ["shop", "bank"]

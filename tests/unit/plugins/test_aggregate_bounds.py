"""What would take all memory does not: a million groups, far apart times, a clock that jumps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from dpiped.panes.gathering import GROUPS_AT_ONCE
from dpiped.panes.pane import Pane
from dpiped.panes.windowed import ANSWERS_AT_ONCE
from dpiped.plugin import PAUSE, PackDraft, PluginContext
from dpiped.questions import Question
from dpiped.telemetry import Telemetry
from dpiped.testing import view_of
from dpiped.view import PackView
from dpiped.windows import WindowPolicy
from plugins.filters.aggregate import AggregateConfig, AggregateFilter

AT = 1_700_000_000_000
YEAR_1970, YEAR_2200 = 1_000, 7_258_118_400_000


def build(**options: Any) -> AggregateFilter:
    metrics = {"hits": {"op": "count"}, "users": {"op": "cardinality", "field": "g"}}
    config = AggregateConfig.model_validate({"group_by": ["g"], "metrics": metrics, **options})
    return AggregateFilter(config, PluginContext(name="agg", telemetry=Telemetry(), window=WindowPolicy(lateness_ms=0)))


def view(plugin: AggregateFilter, offset: int, events: list[tuple[int, int]], accepted_ms: int = AT) -> PackView:
    body = b"".join(b'{"@timestamp":%d,"g":"user-%d"}\n' % event for event in events)
    return view_of(body, plugin.fields(), offset=offset, accepted_ms=accepted_ms)


def lines(drafts: list[PackDraft]) -> list[dict[str, Any]]:
    return [json.loads(line) for draft in drafts for line in draft.body.splitlines()]


def counted(plugin: AggregateFilter, kind: str, what: str) -> int:
    return int(getattr(plugin.context.telemetry.metrics, kind).labels("agg", what)._value.get())


@pytest.mark.slow
def test_a_million_groups_are_a_thousand_and_one() -> None:
    plugin = build(window_secs=3600, max_groups=1_000)
    for start in range(0, 1_000_000, 5_000):
        assert list(plugin.process(view(plugin, start, [(AT, user) for user in range(start, start + 5_000)]))) == []
    assert plugin.status()["groups"] == 1_001
    assert counted(plugin, "noted", "group_over_limit") == 999_000
    assert sum(1 for _ in plugin.changes()) < 1_010
    answers = lines([*plugin.finish()])
    assert [answer["hits"] for answer in answers if answer["g"] == "_other"] == [999_000]
    assert abs(next(answer["users"] for answer in answers if answer["g"] == "_other") / 999_000 - 1) < 0.03


def work_between_pauses(drafts: Iterable[PackDraft], done: list[int]) -> list[int]:
    """How much was done before each draft or PAUSE and at the end; `done` holds what was done so far."""
    found, before = [], done[0]
    for _ in drafts:
        found.append(done[0] - before)
        before = done[0]
    return [*found, done[0] - before]


def test_many_groups_are_handed_over_and_freed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.panes.pane.MOST_GATHERED", 4_000)
    done = [0]
    hand_over, forget = Pane._of, Pane.forget

    def counted_hand_over(pane: Pane, key: Any) -> Any:
        done[0] += 1
        return hand_over(pane, key)

    def counted_forget(pane: Pane, most: int) -> bool:
        groups = len(pane.groups)
        more = forget(pane, most)
        done[0] += groups - len(pane.groups)
        return more

    monkeypatch.setattr(Pane, "_of", counted_hand_over)
    monkeypatch.setattr(Pane, "forget", counted_forget)
    plugin = build(window_secs=60)
    first = work_between_pauses(plugin.process(view(plugin, 0, [(AT, user) for user in range(3_000)])), done)
    assert first == [0]
    heavy = work_between_pauses(plugin.process(view(plugin, 1, [(AT, user) for user in range(3_000)])), done)
    assert (sum(heavy), max(heavy)) == (3_000, GROUPS_AT_ONCE)
    later = work_between_pauses(plugin.process(view(plugin, 2, [(AT + 60_000, 1)])), done)
    assert (sum(later), max(later)) == (6_000, GROUPS_AT_ONCE), "answered, then freed"
    assert plugin.status()["groups"] == 1


@pytest.mark.parametrize(
    "options", [{"window_secs": 60}, {"window_secs": 60, "slide_secs": 10}, {"window": "day"}], ids=str
)
def test_times_far_apart_are_counted_with_a_reason(options: dict[str, Any]) -> None:
    plugin = build(**options)
    drafts = list(plugin.process(view(plugin, 0, [(YEAR_1970, 1), (AT, 2), (YEAR_2200, 3)])))
    assert counted(plugin, "dropped", "too_far_ahead") == 1
    drafts += plugin.process(view(plugin, 1, [(YEAR_1970, 4)]))
    assert counted(plugin, "dropped", "late") == 1
    times = 1 if "slide_secs" not in options else 6
    assert sum(answer["hits"] for answer in lines([*drafts, *plugin.finish()])) == 2 * times


def test_in_the_year_2200_windows_are_those_of_every_year() -> None:
    plugin = build(window="month", timezone="Europe/Berlin")
    plugin.process(view(plugin, 0, [(YEAR_2200, 1)], accepted_ms=YEAR_2200))
    (answer,) = lines([*plugin.finish()])
    assert answer["window_end"] - answer["window_start"] == 31 * 86_400_000


def test_a_clock_that_jumps_opens_no_window_and_early_results_go_on() -> None:
    plugin = build(window_secs=3600, emit_every_secs=10)
    told = []
    for offset, now_ms in enumerate((AT, AT + 11_000, AT - 86_400_000, AT - 86_389_000, AT + 30 * 86_400_000)):
        plugin.process(view(plugin, offset, [(AT, 1)], accepted_ms=AT))
        told.append([answer["hits"] for answer in lines([*plugin.tick(now_ms)])])
    assert told == [[], [2], [], [4], [5]]
    (last,) = lines([*plugin.finish()])
    assert (last["hits"], "_early" in last) == (5, False)


def test_others_may_run_while_a_group_is_looked_for_among_many() -> None:
    plugin = build(window_secs=60)
    users = 2_000
    for at in (AT, AT + 120_000):
        list(plugin.process(view(plugin, at, [(at, user) for user in range(users)], accepted_ms=at)))
    found = list(plugin.answers(Question("all", f"user-{users - 1}")))
    assert [answer["hits"] for answer in found if answer is not PAUSE] == [1, 1]
    assert sum(answer is PAUSE for answer in found) >= 2 * (users // ANSWERS_AT_ONCE - 1)


def test_reset_empties_and_is_stored() -> None:
    plugin, stored = build(window_secs=60), {}
    for at in (AT, AT + 120_000):
        list(plugin.process(view(plugin, at, [(at, 1)], accepted_ms=at)))
    stored.update(plugin.changes())
    assert [answer["hits"] for answer in plugin.answers(Question("all", "user-1"))] == [1, 1]
    plugin.reset()
    stored.update(plugin.changes())
    again = build(window_secs=60)
    again.restore([(key, value) for key, value in stored.items() if value is not None])
    assert list(plugin.answers()) == list(again.answers()) == []
    for one in (plugin, again):
        list(one.process(view(one, 1, [(AT + 120_000, 2)], accepted_ms=AT + 120_000)))
        assert [answer["hits"] for answer in one.answers(Question("current"))] == [1]


DAY_MS = 86_400_000
MIDNIGHT = AT // DAY_MS * DAY_MS


def test_a_quiet_hour_does_not_end_the_day() -> None:
    plugin = build(window="day")
    noon, evening = MIDNIGHT + DAY_MS // 2, MIDNIGHT + DAY_MS - 3_600_000
    list(plugin.process(view(plugin, 1, [(noon, 1)], accepted_ms=noon)))
    assert [lines([*plugin.tick(noon + secs * 1_000)]) for secs in range(1, 30)] == [[]] * 29
    list(plugin.process(view(plugin, 2, [(evening, 1)], accepted_ms=evening)))
    assert counted(plugin, "dropped", "late") == 0
    told = [lines([*plugin.tick(MIDNIGHT + DAY_MS + secs * 1_000)]) for secs in range(30)]
    assert [answer["hits"] for one in told for answer in one] == [2]


def test_a_minute_ends_when_nothing_comes_and_it_is_over() -> None:
    plugin = build(window_secs=60)
    begin = AT // 60_000 * 60_000
    list(plugin.process(view(plugin, 1, [(begin + 1_000, 1)], accepted_ms=begin + 1_000)))
    told = [lines([*plugin.tick(begin + secs * 1_000)]) for secs in range(2, 61)]
    assert [len(one) for one in told] == [0] * 58 + [1]


def test_what_is_rare_finds_its_window_open() -> None:
    plugin = build(window_secs=60, slide_secs=10)
    begin = AT // 60_000 * 60_000
    for secs in range(300):
        if secs % 25 == 0:
            list(plugin.process(view(plugin, secs, [(begin + secs * 1_000, 1)], accepted_ms=begin + secs * 1_000)))
        list(plugin.tick(begin + secs * 1_000))
    assert counted(plugin, "dropped", "late") == 0


def test_what_is_long_past_ends_at_once() -> None:
    plugin = build(window_secs=60)
    list(plugin.process(view(plugin, 1, [(AT - 3_600_000, 1)])))
    told = [lines([*plugin.tick(AT + secs * 1_000)]) for secs in range(1, 11)]
    assert [len(one) for one in told] == [0] * 9 + [1]

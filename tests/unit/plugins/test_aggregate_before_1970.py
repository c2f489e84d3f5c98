"""Times before 1970, which a sender may write as text: their windows are as all others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest

from dpiped.plugin import PackDraft
from dpiped.testing.views import emitted
from tests.unit.plugins.filters_kit import AT, build, counted, view

DAY_MS = 86_400_000
THEN = -4 * DAY_MS
"""A Sunday."""
WINDOWS = [
    ({"window_secs": 60}, THEN, 60_000),
    ({"window": "day"}, THEN, DAY_MS),
    ({"window": "hour", "timezone": "Asia/Kolkata"}, THEN - 1_800_000, 3_600_000),
]


def some(drafts: Iterable[PackDraft]) -> Iterator[PackDraft]:
    """The first of them: a filter that goes on for ever shall fail, not hang."""
    return islice(drafts, 100)


def starts_and_hits(drafts: Iterable[PackDraft]) -> list[tuple[int, int]]:
    events = [json.loads(line) for draft in emitted(list(drafts)) for line in draft.body.splitlines()]
    return [(event["window_start"], event["hits"]) for event in events]


@pytest.mark.parametrize(("windows", "start", "length"), WINDOWS)
def test_they_close_when_time_has_passed_them(windows: dict[str, Any], start: int, length: int) -> None:
    plugin = build("aggregate", metrics={"hits": {"op": "count"}}, **windows)

    def send(*stamps: int) -> list[tuple[int, int]]:
        pack = view(plugin, [{"@timestamp": stamp} for stamp in stamps])
        return starts_and_hits(some(plugin.process(pack)))

    assert send(THEN, THEN + 1) == []
    assert send(THEN + 2) == []
    assert send(THEN + length, THEN) == [(start, 4)]
    assert send(AT) == [(start + length, 1)]
    send(THEN)
    assert counted(plugin) == {"late": 1}


def test_of_windows_that_overlap_each_closes() -> None:
    plugin = build("aggregate", metrics={"hits": {"op": "count"}}, window_secs=3, slide_secs=1)
    events = [{"@timestamp": THEN + second * 1_000} for second in range(2)]
    assert starts_and_hits(some(plugin.process(view(plugin, events)))) == [(THEN - 2_000, 1)]
    rest = starts_and_hits(some(plugin.finish()))
    assert rest == [(THEN - 1_000, 2), (THEN, 2), (THEN + 1_000, 1)]


def test_an_alarm_looks_at_them() -> None:
    plugin = build("alarm", window_secs=60, when="count >= 2", change=1.0, base=2)
    stamps = [THEN, THEN + 1, THEN + 60_000, AT, AT + 60_000]
    told = [draft for at in stamps for draft in some(plugin.process(view(plugin, [{"@timestamp": at}])))]
    events = [json.loads(line) for draft in emitted(told) for line in draft.body.splitlines()]
    assert [(event["state"], event["window_start"]) for event in events] == [("firing", THEN), ("resolved", THEN)]

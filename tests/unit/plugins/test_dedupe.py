"""What `dedupe` lets through, what it forgets, and what its summaries tell."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dpiped.plugin import PAUSE
from tests.unit.plugins.filters_kit import AT, build, counted, events_of, view


def feed(plugin: Any, *events: dict[str, Any], **head: Any) -> list[dict[str, Any]]:
    return events_of(plugin.process(view(plugin, list(events), **head)))


def at(secs: float, **fields: Any) -> dict[str, Any]:
    return {"@timestamp": AT + round(secs * 1000), **fields}


def test_the_first_passes_until_its_time_is_over() -> None:
    plugin = build("dedupe", fields=["k"], window_secs=10)
    assert feed(plugin, at(0, k=1, n=1), at(1, k=1, n=2), at(2, k=2, n=3)) == [at(0, k=1, n=1), at(2, k=2, n=3)]
    assert feed(plugin, at(9.999, k=1, n=4), at(10, k=1, n=5), at(19, k=1)) == [at(10, k=1, n=5)]
    assert counted(plugin) == {"duplicate": 3}


def test_one_that_comes_late_is_a_repeat_too() -> None:
    plugin = build("dedupe", fields=["k"], window_secs=10)
    assert feed(plugin, at(5, k=1)) == [at(5, k=1)]
    assert feed(plugin, at(1, k=1), at(-5, k=1)) == [at(-5, k=1)]


def test_a_whole_number_is_the_same_however_a_sender_wrote_it() -> None:
    plugin = build("dedupe", fields=["k"], count=True)
    assert feed(plugin, at(0, k=7), at(1, k=7.0), at(2, k=7.5)) == [at(0, k=7), at(2, k=7.5)]
    both = build("dedupe", fields=["k", "m"])
    assert feed(both, at(0, k=1e16, m="a"), at(1, k=10**16, m="a")) == [at(0, k=1e16, m="a")]


def test_types_projects_and_missing_fields_are_not_mixed_up() -> None:
    plugin = build("dedupe", fields=["k", "m"])
    events = [at(0, k=1), at(0, k="1"), at(0, k=True), at(0, m=1), at(0), at(0), at(0, k={"a": 1})]
    assert feed(plugin, *events) == events
    assert feed(plugin, at(0, k=1), at(1, m=1), project="other") == [at(0, k=1), at(1, m=1)]
    assert feed(plugin, at(0, k=1), at(1, m=1)) == []


def test_without_fields_the_whole_event_is_the_key() -> None:
    plugin = build("dedupe")
    assert feed(plugin, at(0, k=1), at(0, k=1), at(1, k=1)) == [at(0, k=1), at(1, k=1)]


def test_memory_is_bounded_and_what_is_forgotten_counted() -> None:
    plugin = build("dedupe", fields=["k"], max_keys=2)
    assert len(feed(plugin, *(at(0, k=n) for n in (1, 2, 3)))) == 3
    assert feed(plugin, at(1, k=2), at(1, k=3), at(1, k=1)) == [at(1, k=1)]
    assert counted(plugin) == {"key_forgotten": 2, "duplicate": 2}
    assert plugin.status() == {"keys": 2}


def test_what_is_over_is_forgotten_also_when_nothing_comes() -> None:
    plugin = build("dedupe", fields=["k"], window_secs=3)
    feed(plugin, at(0, k=1))
    for second in range(3):
        assert plugin.status() == {"keys": 1}
        list(plugin.tick(AT + second))
    assert plugin.status() == {"keys": 0}
    assert [key for key, value in plugin.changes() if value is None] != []


def test_repeats_alone_let_time_go_on() -> None:
    plugin = build("dedupe", fields=["k"], window_secs=3)
    feed(plugin, at(0, k=1), at(2, k=2))
    feed(plugin, at(4, k=2))
    assert plugin.status() == {"keys": 1}


def test_far_ahead_events_pass_and_are_not_remembered() -> None:
    plugin = build("dedupe", fields=["k"])
    assert len(feed(plugin, at(3_600, k=1), at(3_600, k=1), at(0, k=2), at(0, k=2))) == 3
    assert counted(plugin) == {"too_far_ahead": 2, "duplicate": 1}


def test_a_summary_tells_what_was_dropped() -> None:
    plugin = build("dedupe", fields=["k", "m.n"], window_secs=5, count=True)
    assert (
        len(feed(plugin, at(0, k="a", m={"n": 1}), at(1, k="a", m={"n": 1}), at(3, k="a", m={"n": 1}), at(0, k="b")))
        == 2
    )
    assert feed(plugin, at(6, k="c")) == [
        at(6, k="c"),
        {"@timestamp": AT + 3_000, "k": "a", "m.n": 1, "_repeats": 2, "_first": AT},
    ]


def test_a_summary_comes_with_the_next_first_one_and_at_the_end() -> None:
    plugin = build("dedupe", fields=["k"], window_secs=5, count=True)
    feed(plugin, at(0, k="a"), at(1, k="a"))
    found = feed(plugin, at(5, k="a"), at(6, k="a"))
    assert found == [at(5, k="a"), {"@timestamp": AT + 1_000, "k": "a", "_repeats": 1, "_first": AT}]
    assert events_of(plugin.finish()) == [{"@timestamp": AT + 6_000, "k": "a", "_repeats": 1, "_first": AT + 5_000}]
    assert plugin.status() == {"keys": 0}


def test_summaries_belong_to_their_projects() -> None:
    plugin = build("dedupe", fields=["k"], count=True)
    for project in ("one", "two"):
        feed(plugin, at(0, k=1), at(0, k=1), project=project)
    assert [(draft.project, draft.count) for draft in plugin.finish()] == [("one", 1), ("two", 1)]


def test_a_reset_forgets_all() -> None:
    plugin = build("dedupe", fields=["k"])
    feed(plugin, at(0, k=1))
    assert len(list(plugin.changes())) == 2
    plugin.reset()
    assert [value for _, value in plugin.changes()] == [None]
    assert feed(plugin, at(1, k=1)) == [at(1, k=1)]


@pytest.mark.parametrize(
    "config",
    [{"count": True}, {"fields": ["_repeats"]}, {"fields": ["a", "a"]}, {"window_secs": 0}, {"max_keys": 0}],
)
def test_what_it_refuses(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build("dedupe", **config)


def test_large_packs_are_taken_bit_by_bit() -> None:
    plugin = build("dedupe", fields=["k"])
    drafts = list(plugin.process(view(plugin, [{"k": n % 1_500, "n": n} for n in range(3_000)])))
    assert [draft is PAUSE for draft in drafts] == [True, True, True, False]
    assert [event["n"] for event in events_of(drafts)] == list(range(1_500))

"""What is told of a window: of whose project it is, and by what time rates divide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dpiped.plugin import PackDraft, PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import body_of, view_of
from dpiped.testing.views import emitted
from dpiped.windows import WindowPolicy
from plugins.filters.aggregate import AggregateConfig, AggregateFilter

AT = 1_700_000_040_000
"""A full minute."""


def build(**options: Any) -> AggregateFilter:
    config = AggregateConfig.model_validate({"metrics": {"hits": {"op": "count"}}, **options})
    return AggregateFilter(config, PluginContext(name="agg", telemetry=Telemetry(), window=WindowPolicy()))


def send(plugin: AggregateFilter, project: str, *stamps: int) -> None:
    body = body_of({"@timestamp": stamp} for stamp in stamps)
    list(plugin.process(view_of(body, plugin.fields(), project=project, accepted_ms=max(stamps))))


def hits(drafts: list[PackDraft]) -> dict[str | None, list[int]]:
    """Project of a draft -> what its lines count."""
    found: dict[str | None, list[int]] = {}
    for draft in emitted(drafts):
        found.setdefault(draft.project, []).extend(json.loads(line)["hits"] for line in draft.body.splitlines())
    return found


@pytest.mark.parametrize("group_by", [["_project"], ["_host", "_project"]])
def test_where_the_project_parts_the_events_each_answer_is_of_its_own(group_by: list[str]) -> None:
    plugin = build(group_by=group_by)
    send(plugin, "shop", AT, AT)
    send(plugin, "bank", AT)
    assert hits([*plugin.finish()]) == {"shop": [2], "bank": [1]}


def test_else_it_is_of_the_project_that_all_events_came_for() -> None:
    plugin = build()
    send(plugin, "shop", AT, AT)
    send(plugin, "shop", AT + 60_000)
    send(plugin, "bank", AT + 60_000)
    assert hits([*plugin.finish()]) == {"shop": [2], "": [2]}


def test_a_whole_number_is_one_group_with_one_id_whichever_way_of_writing_came_first() -> None:
    plugin = build(group_by=["n"], id="window", window_secs=60, slide_secs=30, emit_every_secs=1)
    told = []
    for offset, (at, number) in enumerate(((AT + 30_000, b"7"), (AT, b"7.0"))):
        body = b'{"@timestamp":%d,"n":%b}\n' % (at, number)
        list(plugin.process(view_of(body, plugin.fields(), offset=offset, project="shop", accepted_ms=AT + 30_000)))
        told += plugin.tick(AT + 30_000 + offset * 1_000)
    told += plugin.finish()
    lines = [json.loads(line) for draft in emitted(told) for line in draft.body.splitlines()]
    assert {json.dumps(line["n"]) for line in lines} == {"7"}
    ids = {line["window_id"] for line in lines if line["window_start"] == AT}
    assert len(ids) == 1


def test_too_many_projects_are_counted_together_and_of_none() -> None:
    plugin = build(group_by=["_project"], max_groups=1)
    send(plugin, "shop", AT)
    send(plugin, "bank", AT, AT)
    assert hits([*plugin.finish()]) == {"shop": [1], "": [2]}


def test_the_rate_of_an_open_window_is_that_of_the_time_in_which_events_came() -> None:
    """The watermark is behind by the lateness; the events are not."""
    plugin = build(metrics={"hits": {"op": "rate"}}, emit_every_secs=1)
    for second in range(12):
        send(plugin, "shop", *range(AT + second * 1_000, AT + second * 1_000 + 1_000, 100))
        told = [rate for rates in hits([*plugin.tick(AT + second * 1_000 + 1_000)]).values() for rate in rates]
        assert all(9 <= rate <= 11.2 for rate in told), (second, told)

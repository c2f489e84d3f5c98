"""`aggregate` against a slow and obvious reference, over late, doubled and shuffled events, ticks and restarts."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from dpiped.panes import OTHER
from dpiped.plugin import PackDraft, PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import body_of, emitted, view_of
from dpiped.view import PackView
from dpiped.windows import WindowPolicy
from plugins.filters.aggregate import AggregateConfig, AggregateFilter

GROUPS = (None, True, False, 1, 0, 2, -1, 1.5, "", "a", "1", "true", [1], 10**30, {"x": 1}, "käse")
ABSENT = object()
Step = Literal["tick"] | list[tuple[int, Any]]

times = st.integers(0, 400).map(lambda tenth: 1_000_000 + tenth * 100)
events = st.tuples(times, st.sampled_from((ABSENT, *GROUPS)))
steps = st.lists(st.one_of(st.just("tick"), st.lists(events, min_size=1, max_size=8)), max_size=25)
policies = st.builds(
    WindowPolicy,
    lateness_ms=st.sampled_from((0, 500, 5_000)),
    idle_ms=st.sampled_from((1_000, 3_000)),
    max_ahead_ms=st.sampled_from((0, 3_000, 60_000)),
    on_late=st.sampled_from(("drop", "emit")),
)
shapes = st.sampled_from(((1_000, 1_000), (3_000, 1_000), (4_000, 2_000), (10_000, 10_000)))


def accepted_of(number: int) -> int:
    return 1_000_000 + number * 1_700


def pack_of(offset: int, some: list[tuple[int, Any]]) -> PackView:
    body = body_of({"@timestamp": at} | ({} if group is ABSENT else {"g": group}) for at, group in some)
    return view_of(body, ["g"], offset=offset, project="rs", ident="app", accepted_ms=accepted_of(offset))


def build(policy: WindowPolicy, window_ms: int, slide_ms: int, max_groups: int = 10_000) -> AggregateFilter:
    config = AggregateConfig.model_validate(
        {
            "window_secs": window_ms / 1000,
            "slide_secs": slide_ms / 1000,
            "group_by": ["g"],
            "max_groups": max_groups,
            "metrics": {"hits": {"op": "count"}},
        }
    )
    return AggregateFilter(config, PluginContext(name="agg", telemetry=Telemetry(), window=policy))


def group_of(value: Any) -> str:
    """Its text; what is absent, null, a list or an object is no group."""
    return "absent" if value is ABSENT or value is None or isinstance(value, (list, dict)) else json.dumps(value)


@dataclass
class Reference:
    """Keeps all events and looks at all of them each time."""

    policy: WindowPolicy
    window: int
    slide: int
    kept: list[tuple[int, str]] = field(default_factory=list)
    mark: int = -1
    newest: int = -1
    idle: int = 0
    late: int = 0
    ahead: int = 0
    out: list[tuple[int, str, int]] = field(default_factory=list)

    def step(self, number: int, step: Step) -> None:
        before = self.mark
        if step == "tick":
            self.idle += 1
            open_panes = [at // self.slide * self.slide for at, _ in self.kept if not self.is_done(at)]
            if open_panes and self.idle * self.policy.tick_ms >= self.policy.idle_ms:
                passed = accepted_of(number) - self.policy.lateness_ms
                self.mark = max(self.mark, min(max(open_panes) + self.window, passed // self.slide * self.slide))
        else:
            horizon = accepted_of(number) + self.policy.max_ahead_ms
            for at, group in step:
                if at > horizon:
                    self.ahead += 1
                elif self.is_done(at, before):
                    self.late += 1
                else:
                    self.kept.append((at, group_of(group)))
            in_time = [at for at, _ in step if at <= horizon]
            if in_time:
                self.idle = 0
                self.newest = max(self.newest, *in_time)
                self.mark = max(self.mark, self.newest - self.policy.lateness_ms)
        self.close(before)

    def is_done(self, at: int, mark: int | None = None) -> bool:
        """Whether the last window that an event of this time belongs to is closed."""
        return at // self.slide * self.slide + self.window <= (self.mark if mark is None else mark)

    def close(self, before: int) -> None:
        """A window that the mark passes is closed, once and for all, whether it holds data or not."""
        ends = {
            at // self.slide * self.slide + self.slide * n
            for at, _ in self.kept
            for n in range(1, self.window // self.slide + 1)
        }
        for end in sorted(ends):
            if before < end <= self.mark:
                counts = Counter(group for at, group in self.kept if end - self.window <= at < end)
                self.out += [(end, group, hits) for group, hits in sorted(counts.items())]


def answers(drafts: list[PackDraft]) -> list[tuple[int, str, int]]:
    """(end, group, hits), in order of windows; within one sorted by group."""
    found: list[tuple[int, str, int]] = []
    for draft in drafts:
        if draft.ident:
            continue
        lines = [json.loads(line) for line in draft.body.splitlines()]
        assert len(lines) == draft.count
        assert {line["@timestamp"] for line in lines} == {draft.min_ts} == {draft.max_ts}
        found += sorted(
            (line["window_end"], json.dumps(line["g"]) if "g" in line else "absent", line["hits"]) for line in lines
        )
    return found


def run(plugin: AggregateFilter, number: int, step: Step) -> list[PackDraft]:
    return emitted(plugin.tick(accepted_of(number)) if step == "tick" else plugin.process(pack_of(number, step)))  # type: ignore[arg-type]


def total_of(plugin: AggregateFilter, reason: str) -> int:
    return int(plugin.context.telemetry.metrics.dropped.labels("agg", reason)._value.get())


@given(steps, policies, shapes)
def test_answers_are_those_of_the_reference(script: list[Step], policy: WindowPolicy, shape: tuple[int, int]) -> None:
    plugin, reference = build(policy, *shape), Reference(policy, *shape)
    drafts: list[PackDraft] = []
    for number, step in enumerate(script):
        drafts += run(plugin, number, step)
        reference.step(number, step)
    assert answers(drafts) == reference.out
    assert total_of(plugin, "too_far_ahead") == reference.ahead
    sent_late = sum(draft.count for draft in drafts if draft.ident == "agg.late")
    assert (total_of(plugin, "late"), sent_late) == (
        (reference.late, 0) if policy.on_late == "drop" else (0, reference.late)
    )


@given(steps, policies, shapes, st.data())
def test_restarts_change_nothing(
    script: list[Step], policy: WindowPolicy, shape: tuple[int, int], data: st.DataObject
) -> None:
    """restore(all changes so far), then any further packs: the same answers. Taking changes alters nothing."""
    undisturbed, plugin = build(policy, *shape), build(policy, *shape)
    stored: dict[bytes, bytes] = {}
    for number, step in enumerate(script):
        assert [(draft.body, draft.ident) for draft in run(plugin, number, step)] == [
            (draft.body, draft.ident) for draft in run(undisturbed, number, step)
        ]
        what = data.draw(st.sampled_from(("go on", "snapshot", "restart")))
        if what != "go on":
            for key, value in plugin.changes():
                if value is None:
                    stored.pop(key, None)
                else:
                    stored[key] = value
        if what == "restart":
            plugin = build(policy, *shape)
            plugin.restore(sorted(stored.items()))
    assert [draft.body for draft in emitted(plugin.finish())] == [draft.body for draft in emitted(undisturbed.finish())]


@given(steps, policies, shapes)
def test_at_the_end_every_timely_event_was_counted(
    script: list[Step], policy: WindowPolicy, shape: tuple[int, int]
) -> None:
    plugin, sent = build(policy, *shape), sum(len(step) for step in script if step != "tick")
    drafts = [draft for number, step in enumerate(script) for draft in run(plugin, number, step)]
    late = total_of(plugin, "late") + sum(draft.count for draft in drafts if draft.ident)
    drafts += emitted(plugin.finish())
    counted = sum(hits for _, _, hits in answers(drafts))
    if shape[0] == shape[1]:  # windows that do not overlap count each event once
        assert counted == sent - late - total_of(plugin, "too_far_ahead")
    assert plugin.result() == {}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 8))
def test_groups_over_the_limit_are_counted_together(values: list[int], limit: int) -> None:
    plugin = build(WindowPolicy(), 10_000, 10_000, limit)
    plugin.process(pack_of(0, [(1_000_000, value) for value in values]))
    (draft,) = emitted(plugin.finish())
    lines = [json.loads(line) for line in draft.body.splitlines()]
    assert sum(line["hits"] for line in lines) == len(values)
    assert len([line for line in lines if line["g"] != OTHER]) == min(limit, len(set(values)))

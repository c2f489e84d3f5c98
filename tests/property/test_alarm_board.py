"""The states of alarms against a slow and obvious reference, which keeps all that ever happened and looks at all of it
each time; and judged windows against those that `aggregate` answers for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from dpiped.alarms.board import Alarm, Board, Hit, Rules
from dpiped.plugin import PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import emitted
from dpiped.windows import WindowPolicy
from plugins.filters.aggregate import AggregateConfig, AggregateFilter
from tests.alarming import AT, POLICY, alarms_of, build, pack_of

WINDOW = 10
rules = st.builds(
    Rules,
    most=st.sampled_from((2, 100)),
    throttle_ms=st.sampled_from((0, 3, 25)),
    resolve_ms=st.sampled_from((0, 4, 30)),
    tick_ms=st.just(1),
    whole_windows=st.booleans(),
)
groups = st.sampled_from("aab")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.integers(1, 25)),
        st.tuples(st.just("hit"), groups, st.integers(0, 2), st.booleans(), st.booleans()),
        st.tuples(st.just("pass"), st.integers(0, 40)),
        st.tuples(
            st.just("say"), groups, st.sampled_from(("ack", "unack", "silence", "unsilence")), st.integers(0, 60)
        ),
    ),
    min_size=10,
    max_size=60,
)


@dataclass
class Story:
    """All that happened to one group since it fires."""

    hits: list[tuple[int, int, bool]] = field(default_factory=list)
    """(time, end of the window, whether it is of a window)."""
    tells: list[tuple[int, int]] = field(default_factory=list)
    """(time, end of the window) of what was told."""
    acked: bool = False
    over: bool = False
    quiet_since: int | None = None


@dataclass
class Reference:
    """One clock for everything: a tick is a millisecond, and windows end on its multiples of WINDOW."""

    rules: Rules
    now: int = 0
    closed: int = 0
    stories: dict[str, Story] = field(default_factory=dict)
    silences: dict[str, int] = field(default_factory=dict)

    def hit(self, name: str, end: int, windowed: bool, fresh: bool) -> str | None:
        if name not in self.stories and len(self.stories) >= self.rules.most:
            return None
        story = self.stories.setdefault(name, Story())
        story.over, story.quiet_since = False, None
        story.hits.append((self.now, end, windowed))
        if self.now < self.silences.get(name, 0):
            return None
        if not story.tells:
            story.tells.append((self.now, end))
            return "firing"
        if story.acked or (not fresh and end <= max(end for _, end in story.tells)):
            return None
        last, last_end = story.tells[-1]
        if max(self.now - last, min(end, self.now) - min(last_end, last)) < self.rules.throttle_ms:
            return None
        story.tells.append((self.now, end))
        return "again"

    def window(self, story: Story) -> tuple[int, bool]:
        """(end of the newest window since the last change between windows and others, whether it is one)."""
        windowed = story.hits[-1][2]
        newest = 0
        for _, end, kind in reversed(story.hits):
            if kind != windowed:
                break
            newest = max(newest, end)
        return newest, windowed

    def tick(self) -> list[str]:
        ended = []
        for name, story in sorted(self.stories.items()):
            end, windowed = self.window(story)
            if not story.over:
                if windowed and self.closed < end:
                    continue
                if story.quiet_since is None:
                    story.quiet_since = self.now
                wanted = self.rules.resolve_ms + (WINDOW if windowed and self.rules.whole_windows else 0)
                if self.now - story.quiet_since < wanted:
                    continue
            ended.append(name)
        return self.end(ended)

    def pass_to(self, end: int) -> list[str]:
        return self.end(
            [
                name
                for name, story in sorted(self.stories.items())
                if self.window(story)[1] and not story.over
                and end > self.window(story)[0] and end - self.window(story)[0] >= self.rules.resolve_ms
            ]
        )  # fmt: skip

    def end(self, names: list[str]) -> list[str]:
        told = []
        for name in names:
            self.stories[name].over, self.stories[name].acked = True, False
            if self.now >= self.silences.get(name, 0):
                if self.stories.pop(name).tells:
                    told.append(name)
                self.silences.pop(name, None)
        return told

    def say(self, name: str, what: str, secs: int) -> None:
        if name not in self.stories:
            return
        if what in ("ack", "unack"):
            self.stories[name].acked = what == "ack" and not self.stories[name].over
        else:
            self.silences[name] = self.now + secs * 1000 if what == "silence" else 0


def name_of(group: str) -> str:
    return f"{ord(group):016x}"


def fingerprints(alarms: Iterable[Alarm | None]) -> list[str]:
    return [alarm.fingerprint for alarm in alarms if alarm is not None]


@settings(max_examples=400)
@given(rules, steps)
def test_the_board_does_what_the_reference_does(rules: Rules, steps: list[Any]) -> None:
    board, reference = Board(rules), Reference(rules)
    for step in steps:
        match step:
            case ("tick", amount):
                for _ in range(amount):
                    board.ticks += 1
                    board.now_ms = reference.now = reference.now + 1
                    reference.closed = reference.now // WINDOW * WINDOW
                    assert fingerprints(board.tick(reference.closed)) == [*map(name_of, reference.tick())]
            case ("hit", group, ahead, windowed, fresh):
                end = (reference.now // WINDOW + ahead) * WINDOW if windowed else reference.now + 3 * WINDOW * ahead
                hit = Hit(name_of(group), "{}", "r", 1, 1, "t", "{}", end - WINDOW, end, windowed, "", fresh)
                assert board.hit(hit) == reference.hit(group, end, windowed, fresh)
            case ("pass", ahead):
                told = fingerprints(board.pass_to(reference.now + ahead))
                assert told == [*map(name_of, reference.pass_to(reference.now + ahead))]
            case ("say", group, what, secs):
                said = {"control": what, "fingerprint": name_of(group), "secs": secs / 1000, "at_ms": reference.now}
                board.command(said)
                reference.say(group, what, secs / 1000)  # type: ignore[arg-type]
        assert sorted(board.alarms) == sorted(map(name_of, reference.stories))
        assert {a.fingerprint: (a.acked, a.over) for a in board.alarms.values()} == {
            name_of(name): (story.acked, story.over) for name, story in reference.stories.items()
        }


# ---- windows -------------------------------------------------------------------------------------------------------
times = st.integers(0, 400).map(lambda tenth: AT + tenth * 100)
packs = st.lists(
    st.one_of(st.just("tick"), st.lists(st.tuples(times, st.sampled_from("abc")), min_size=1, max_size=8)), max_size=25
)
shapes = st.sampled_from(((3, 1), (4, 2), (10, 10)))


@mock.patch("dpiped.alarms.judged.MANY", 2)
@given(packs, shapes, st.integers(1, 4), st.sampled_from((1, 2, 100)))
def test_judged_are_the_windows_that_aggregate_answers_for(
    packs: list[Any], shape: tuple[int, int], least: int, most: int
) -> None:
    """Without ticks both close the same windows; with `throttle_secs = 0` each that holds is told."""
    options: dict[str, Any] = {"window_secs": shape[0], "slide_secs": shape[1], "group_by": ["g"], "max_groups": most}
    plugin = build(when=f"count >= {least}", throttle_secs=0, early=False, **options)
    plugin._board.rules = plugin._board.rules._replace(most=100)  # each window may have groups of its own
    config = AggregateConfig.model_validate({"metrics": {"count": {"op": "count"}}, **options})
    reference = AggregateFilter(config, PluginContext(name="agg", telemetry=Telemetry(), window=POLICY))
    told, answers = [], []
    for number, step in enumerate(packs):
        if step != "tick":
            body = b"".join(b'{"@timestamp":%d,"g":"%b"}\n' % (at, group.encode()) for at, group in step)
            view = pack_of(plugin, number, body, AT + 60_000)
            told += emitted(plugin.process(view))
            answers += list(reference.process(view))
    told += emitted(plugin.finish())
    answers += list(reference.finish())
    held = [
        (answer["window_start"], answer["g"], answer["count"])
        for answer in _events(answers)
        if answer["count"] >= least
    ]
    found = [
        (alarm["window_start"], alarm["g"], alarm["values"]["count"])
        for alarm in _events(told)
        if alarm["state"] != "resolved"
    ]
    assert found == held
    assert all(alarm["samples"] for alarm in _events(told) if alarm["state"] != "resolved")


@given(packs, shapes, st.integers(1, 4))
def test_what_holds_when_its_window_closes_is_firing(packs: list[Any], shape: tuple[int, int], least: int) -> None:
    """With ticks an alarm comes earlier, never later."""
    policy = WindowPolicy(lateness_ms=2_000, idle_ms=10**9, max_ahead_ms=60_000, tick_ms=1_000)
    options: dict[str, Any] = {"window_secs": shape[0], "slide_secs": shape[1], "group_by": ["g"]}
    plugin = build(policy, when=f"count >= {least}", resolve_after_secs=10**6, **options)
    config = AggregateConfig.model_validate({"metrics": {"count": {"op": "count"}}, **options})
    reference = AggregateFilter(config, PluginContext(name="agg", telemetry=Telemetry(), window=policy))
    firing: set[str] = set()
    for number, step in enumerate(packs):
        if step == "tick":
            told = emitted(plugin.tick(AT + 60_000))
            assert list(reference.tick(AT + 60_000)) == []
            answers: list[Any] = []
        else:
            body = b"".join(b'{"@timestamp":%d,"g":"%b"}\n' % (at, group.encode()) for at, group in step)
            view = pack_of(plugin, number, body, AT + 60_000)
            told, answers = emitted(plugin.process(view)), list(reference.process(view))
        firing |= {alarm["g"] for alarm in _events(told) if alarm["state"] == "firing"}
        assert {answer["g"] for answer in _events(answers) if answer["count"] >= least} <= firing
    assert {row["group"]["g"] for row in alarms_of(plugin, "firing")} == firing


def _events(drafts: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for draft in drafts for line in draft.body.splitlines()]

"""`dedupe` against brute force, and the law of states: restarts anywhere change nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.filters_kit import AT, build, events_of, view

packs = st.lists(
    st.one_of(
        st.none(),  # a tick
        st.lists(st.tuples(st.integers(0, 6), st.integers(-3_000, 9_000)), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=12,
)
CONFIG = {"fields": ["k"], "window_secs": 2, "count": True}


def events_in(pack: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"@timestamp": AT + at, "k": key} for key, at in pack]


def step(plugin: Any, pack: list[tuple[int, int]] | None, number: int) -> Any:
    if pack is None:
        return list(plugin.tick(AT + number))
    return list(plugin.process(view(plugin, events_in(pack), offset=number)))


@settings(max_examples=300, deadline=None)
@given(packs, st.sets(st.integers(0, 11)), st.sampled_from([2, 1_000]))
def test_restarts_change_nothing(given_packs: list[Any], restarts: set[int], max_keys: int) -> None:
    config = {**CONFIG, "max_keys": max_keys}
    undisturbed, plugin = build("dedupe", **config), build("dedupe", **config)
    stored: dict[bytes, bytes] = {}
    for number, pack in enumerate(given_packs):
        assert step(plugin, pack, number) == step(undisturbed, pack, number)
        if number in restarts:
            for key, value in plugin.changes():
                stored.update({key: value} if value is not None else {})
                if value is None:
                    stored.pop(key, None)
            plugin = build("dedupe", **config)
            plugin.restore(sorted(stored.items()))
    assert plugin.result() == undisturbed.result()
    assert list(plugin.finish()) == list(undisturbed.finish())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9_000)), min_size=1, max_size=6), max_size=10))
def test_in_order_it_is_what_brute_force_says(some: list[list[tuple[int, int]]]) -> None:
    """In order of time nothing is forgotten too early; no event is lost: each passed or is in a summary."""
    times = sorted(at for pack in some for _, at in pack)
    ordered = [[(key, times.pop(0)) for key, _ in pack] for pack in some]
    plugin = build("dedupe", **CONFIG)
    found = events_of(draft for number, pack in enumerate(ordered) for draft in step(plugin, pack, number))
    found += events_of(plugin.finish())
    firsts: dict[int, int] = {}
    expected = []
    for event in (event for pack in ordered for event in events_in(pack)):
        if event["@timestamp"] - firsts.get(event["k"], -(10**15)) >= 2_000:
            firsts[event["k"]] = event["@timestamp"]
            expected.append(event)
    assert [event for event in found if "_repeats" not in event] == expected
    repeats = sum(event.get("_repeats", 0) for event in found)
    assert repeats + len(expected) == sum(map(len, ordered))

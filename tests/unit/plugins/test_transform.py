"""The filter around the steps: what it says of its packs."""

from __future__ import annotations

from tests.unit.plugins.filters_kit import AT, build, counted, events_of, view

STEP = {"do": "range", "field": "n", "bounds": [0, 5]}


def test_large_packs_are_taken_bit_by_bit() -> None:
    plugin = build("transform", steps=[STEP])
    events = [{"@timestamp": AT + n, "n": n % 5} for n in range(2_500)]
    drafts = list(plugin.process(view(plugin, events)))
    assert sum(draft.count for draft in drafts) == 2_500
    assert max(draft.count for draft in drafts) <= 1_000
    assert events_of(drafts) == [{**event, "n_rg": "0-5"} for event in events]


def test_only_what_where_wants_is_emitted() -> None:
    plugin = build("transform", steps=[STEP], prefix="clean")
    pack = view(plugin, [{"@timestamp": AT + n, "n": n} for n in range(9)], "n > 3")
    (draft,) = plugin.process(pack)
    assert draft.ident == "clean.app"
    assert [event["n"] for event in events_of([draft])] == [4, 5, 6, 7, 8]
    assert counted(plugin) == {"range_outside": 4}

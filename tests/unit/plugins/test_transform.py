"""The filter around the steps: what it says of its packs."""

from __future__ import annotations

from dpiped.plugin import PAUSE
from tests.unit.plugins.filters_kit import AT, build, counted, events_of, view

STEP = {"do": "range", "field": "n", "bounds": [0, 5]}


def test_large_packs_are_taken_bit_by_bit() -> None:
    plugin = build("transform", steps=[STEP])
    events = [{"@timestamp": AT + n, "n": n % 5} for n in range(2_500)]
    drafts = list(plugin.process(view(plugin, events)))
    assert [draft is PAUSE for draft in drafts] == [True, True, True, False]
    assert events_of(drafts) == [{**event, "n_rg": "0-5"} for event in events]


def test_only_what_where_wants_is_emitted() -> None:
    plugin = build("transform", steps=[STEP], prefix="clean")
    pack = view(plugin, [{"@timestamp": AT + n, "n": n} for n in range(9)], "n > 3")
    _, draft = plugin.process(pack)
    assert draft.ident == "clean.app"
    assert [event["n"] for event in events_of([draft])] == [4, 5, 6, 7, 8]
    assert counted(plugin) == {"range_outside": 4}


def test_what_is_dear_to_look_up_is_done_bit_by_bit() -> None:
    plugin = build("transform", steps=[{"do": "user_agent", "field": "ua"}])
    events = [{"ua": f"Mozilla/5.0 (X11; Linux x86_64; rv:{n}.0) Gecko/20100101 Firefox/{n}.0"} for n in range(35)]
    for pauses in (3 + 1, 0 + 1):  # the second time all is known
        drafts = list(plugin.process(view(plugin, events * 2)))
        assert [draft is PAUSE for draft in drafts] == [True] * pauses + [False]
        assert [event["ua_version"] for event in events_of(drafts)] == [str(n) for n in range(35)] * 2

"""What `sample` keeps: a fair share, whole keys, the same everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.plugins.filters_kit import AT, build, counted, events_of, view


def kept(events: list[dict[str, Any]], where: str = "", **config: Any) -> list[dict[str, Any]]:
    plugin = build("sample", **config)
    return events_of(plugin.process(view(plugin, events, where)))


@pytest.mark.parametrize(("rate", "share"), [(1, 1), (4, 0.25), (0.25, 0.25), (100, 0.01), (0.9, 0.9)])
@pytest.mark.parametrize("by", [[], ["u"], ["u", "v"]])
def test_the_share_is_kept(rate: float, share: float, by: list[str]) -> None:
    events = [{"u": n, "v": f"user{n}"} for n in range(20_000)]
    found = len(kept(events, rate=rate, by=by)) / 20_000
    assert abs(found - share) <= 4 * (share * (1 - share) / 20_000) ** 0.5


def test_a_key_is_kept_or_dropped_whole_on_every_day() -> None:
    events = [{"u": f"u{n % 50}", "n": n, "@timestamp": AT + n} for n in range(1_000)]
    found = kept(events, rate=3, by=["u"])
    users = {event["u"] for event in found}
    assert 0 < len(users) < 50
    assert found == [event for event in events if event["u"] in users]
    assert kept(events[500:], rate=3, by=["u"]) == [event for event in found if event["n"] >= 500]


def test_what_is_kept_is_the_same_for_ever() -> None:
    """Daemons of all versions, and replays, agree."""
    found = kept([{"u": n} for n in range(40)], rate=4, by=["u"])
    assert [event["u"] for event in found] == [1, 2, 4, 11, 13, 23, 24, 29, 33]


def test_a_whole_number_is_the_same_key_however_a_sender_wrote_it() -> None:
    found = kept([{"u": float(n)} for n in range(40)], rate=4, by=["u"])
    assert [event["u"] for event in found] == [1, 2, 4, 11, 13, 23, 24, 29, 33]


def test_events_without_the_key_are_judged_one_by_one() -> None:
    events = [{"n": n} for n in range(400)]
    assert 40 < len(kept(events, rate=4, by=["u"])) < 160
    assert 40 < len(kept(events, rate=4, by=["u", "v"])) < 160


def test_another_seed_makes_another_choice() -> None:
    events = [{"u": n} for n in range(1_000)]
    first = kept(events, rate=4, by=["u"])
    assert 20 < len(kept(first, rate=4, by=["u"], seed=1)) < len(first) / 2
    assert kept(first, rate=4, by=["u"]) == first


def test_always_and_the_rate() -> None:
    events = [
        {"u": n, "level": "error" if n % 10 == 0 else "info", **({"_sample_rate": 3} if n < 50 else {})}
        for n in range(200)
    ]
    found = kept(events, rate=4, always="level == 'error'", add_rate=True)
    assert [event["u"] for event in found if event["level"] == "error"] == list(range(0, 200, 10))
    assert {(event["level"], event["_sample_rate"], event["u"] < 50) for event in found} == {
        ("error", 3, True),
        ("error", 1, False),
        ("info", 12, True),
        ("info", 4, False),
    }


def test_what_is_left_out_is_counted() -> None:
    plugin = build("sample", rate=4, by=["u"])
    found = events_of(plugin.process(view(plugin, [{"u": n} for n in range(100)], "u < 50")))
    assert all(event["u"] < 50 for event in found)
    assert counted(plugin) == {"sampled": 50 - len(found)}


def test_nothing_kept_is_nothing_emitted() -> None:
    plugin = build("sample", rate=1e12)
    assert list(plugin.process(view(plugin, [{"u": 1}]))) == []
    assert counted(plugin) == {"sampled": 1}


@pytest.mark.parametrize(
    "config", [{}, {"rate": 0}, {"rate": -2}, {"rate": 2, "by": ["a", "a"]}, {"rate": 2, "always": "a =="}]
)
def test_what_it_refuses(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build("sample", **config)

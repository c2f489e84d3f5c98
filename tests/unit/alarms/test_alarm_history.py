"""The same clock yesterday and last week: over changes of the clock, of sliding windows, bounded."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dpiped.alarms.history import DAY_MS, History
from dpiped.panes import CalendarPeriods, FixedPeriods
from tests.alarming import World

BERLIN = "Europe/Berlin"
HOUR_MS = 3_600_000


def at(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def hours(most: int = 1_000, zone: str = BERLIN, slide_ms: int = HOUR_MS, days: int = 7) -> History:
    return History(FixedPeriods(HOUR_MS, slide_ms), zone, days, most)


@pytest.mark.parametrize(
    ("now", "days", "then"),
    [
        ("2024-03-20T09:00", 1, "2024-03-19T09:00"),
        ("2024-03-31T09:00", 1, "2024-03-30T09:00"),  # 23 hours before: clocks went forward in between
        ("2024-10-27T09:00", 1, "2024-10-26T09:00"),  # 25 hours before
        ("2024-11-03T09:00", 7, "2024-10-27T09:00"),
        ("2024-04-07T09:00", 7, "2024-03-31T09:00"),
        ("2024-10-28T02:30", 1, "2024-10-27T02:30"),  # it was shown twice: the first counts
        ("2024-04-01T02:30", 1, "2024-03-31T03:30"),  # it was skipped
        ("2024-01-01T00:00", 1, "2023-12-31T00:00"),
    ],
)
def test_the_same_clock(now: str, days: int, then: str) -> None:
    assert hours().same_clock(at(now), days) == at(then)


def test_the_second_of_two_equal_clocks_is_compared_with_the_day_before() -> None:
    assert hours().same_clock(at("2024-10-27T02:30", fold=1), 1) == at("2024-10-26T02:30")


def test_milliseconds_stay() -> None:
    assert hours().same_clock(at("2024-03-31T09:00") + 7, 1) == at("2024-03-30T09:00") + 7


def test_counts_are_found_by_the_clock() -> None:
    history = hours()
    for text, count in (("2024-03-30T08:00", 5), ("2024-03-30T09:00", 40), ("2024-03-30T10:00", 6)):
        history.add((at(text), at(text) + HOUR_MS), {"a": count})
    now = at("2024-03-31T09:00")
    assert history.before((now, now + HOUR_MS), "a", 1) == 40
    assert history.before((now, now + HOUR_MS), "b", 1) == 0
    assert history.before((now + 5 * HOUR_MS, now + 6 * HOUR_MS), "a", 1) is None


def test_between_two_windows_both_have_their_share() -> None:
    history = hours(slide_ms=HOUR_MS // 4, zone="UTC")
    assert history.wants((0, HOUR_MS)) and not history.wants((HOUR_MS // 4, HOUR_MS + HOUR_MS // 4))
    history.add((0, HOUR_MS), {"a": 100})
    span = (DAY_MS + HOUR_MS // 4, DAY_MS + HOUR_MS + HOUR_MS // 4)
    assert history.before(span, "a", 1) is None
    history.add((HOUR_MS, 2 * HOUR_MS), {"a": 20})
    assert history.before(span, "a", 1) == 100 * 0.75 + 20 * 0.25


def test_days_of_a_calendar_are_compared_whole() -> None:
    periods = CalendarPeriods("day", BERLIN)
    history = History(periods, BERLIN, 7)
    for day, count in (("2024-03-30", 7), ("2024-03-31", 9)):
        history.add(periods.pane(at(f"{day}T12:00")), {"a": count})
    assert history.before(periods.pane(at("2024-04-01T12:00")), "a", 1) == 9
    assert history.before(periods.pane(at("2024-03-31T12:00")), "a", 1) == 7
    assert history.before(periods.pane(at("2024-04-06T12:00")), "a", 7) == 7


def test_what_is_too_old_goes_and_what_is_too_much_is_counted() -> None:
    history = hours(most=5, days=1)
    assert [history.add((n * HOUR_MS, (n + 1) * HOUR_MS), {"a": 1, "b": 2}) for n in range(4)] == [0, 0, 2, 2]
    assert list(history.parts) == [(3 * HOUR_MS, 0), (4 * HOUR_MS, 0)]
    history.add((60 * HOUR_MS, 61 * HOUR_MS), {"a": 1})
    assert list(history.parts) == [(61 * HOUR_MS, 0)]
    assert history.add((61 * HOUR_MS, 62 * HOUR_MS), dict.fromkeys(range(9), 1)) == 10
    assert not len(history.parts)


@pytest.mark.parametrize("morning", ["2024-03-31T09:00", "2024-10-27T09:00", "2024-06-02T09:00"])
def test_an_alarm_compares_nine_with_nine_whatever_happened_to_the_clock(morning: str) -> None:
    world = World(window_secs=3_600, yesterday=1.0, base=5, timezone=BERLIN, group_by=["g"])
    now = at(morning)
    yesterday = at((datetime.fromisoformat(morning) - timedelta(days=1)).isoformat())
    world.now = yesterday
    world.send(*({"g": "a"} for _ in range(10)))
    for hour in range(1, 23):
        world.now = yesterday + hour * HOUR_MS
        world.send({"g": "a"})
    world.now = now
    assert world.send(*({"g": "a"} for _ in range(19))) + world.tick() == []
    world.send({"g": "a"})
    (alarm,) = world.tick()
    assert (alarm["reason"], alarm["window_start"], alarm["values"]) == ("yesterday", now, {"count": 20})

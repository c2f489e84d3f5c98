"""Quiet hours by the clock of a time zone, over both changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from dpiped.pooled.hours import Hours, check_zone, minutes_of

BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_a_span_is_half_open_and_may_go_over_midnight() -> None:
    assert minutes_of("6-7:30") == frozenset(range(360, 450))
    assert minutes_of("23:59 - 0:01") == {1439, 0}
    assert minutes_of("22-24") == frozenset(range(1320, 1440))
    assert minutes_of("24-1") == frozenset(range(60))


@pytest.mark.parametrize(
    "text", ["", "7", "7-", "25-3", "7-7", "0-24", "24:01-3", "1:60-2", "a-b", "-1-3", "7-8-9", "７-８"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        minutes_of(text)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "\0", "Europe"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a time zone"):
        check_zone(name)


def test_it_holds_until_the_end_of_the_hours() -> None:
    hours = Hours(["22:00-07:00"], "Europe/Berlin")
    assert hours.hold(ms("2026-01-10T20:59:59")) == 0.0  # 21:59:59
    assert hours.hold(ms("2026-01-10T21:00:00")) == 60.0
    assert hours.hold(ms("2026-01-11T05:59:50")) == 10.0
    assert hours.hold(ms("2026-01-11T06:00:00")) == 0.0
    assert not hours.always
    assert Hours(["0-12", "12:00-24:00"], "UTC").always


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-01"])
@pytest.mark.parametrize("span", ["02:00-03:00", "01:30-02:30", "22:00-07:00", "2-2:30"])
def test_over_a_change_of_the_clock_it_is_the_clock_on_the_wall_that_counts(day: str, span: str) -> None:
    """Every half minute of the day, and what it says is followed: who asks again then is never told too late."""
    hours, quiet, start = Hours([span], "Europe/Berlin"), minutes_of(span), ms(f"{day}T00:00:00")
    for now in range(start, start + 86_400_000, 30_000):
        wall = datetime.fromtimestamp(now / 1000, UTC).astimezone(BERLIN)
        hold = hours.hold(now)
        assert (hold > 0) == (wall.hour * 60 + wall.minute in quiet)
        assert hold <= 60.0

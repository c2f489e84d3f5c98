"""Calendar windows against Python's own idea of local time, and the law of all periods: no gap, no overlap."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpiped.panes import CalendarPeriods, FixedPeriods, Periods

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "America/St_Johns",  # the clock went back at 00:01
    "America/Sao_Paulo",  # and forward at 00:00
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # and left out a day
    "Africa/Monrovia",  # 44 minutes and 30 seconds, until 1972
)
CALENDARS = ("hour", "day", "week", "month")
times = st.integers(0, 7_258_118_400_000)  # 1970 to 2200
ALL = [FixedPeriods(60_000, 10_000), *(CalendarPeriods(period, zone) for period in CALENDARS for zone in ZONES)]


def local(at: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at // 1000, ZoneInfo(zone))


@given(st.sampled_from(ALL), times)
def test_panes_have_no_gap_and_no_overlap(periods: Periods, at: int) -> None:
    start, end = periods.pane(at)
    assert start <= at < end
    assert periods.pane(start) == periods.pane(end - 1) == (start, end)
    assert periods.pane(end)[0] == end
    assert periods.pane(start - 1)[1] == start


@given(st.sampled_from(ALL), times)
def test_a_window_is_found_from_its_end(periods: Periods, at: int) -> None:
    end = periods.next_end(periods.floor(at))
    assert periods.floor(end) == end
    assert periods.window_start(end) <= periods.pane(at)[0] < end <= periods.last_end(periods.pane(at))
    assert periods.oldest_pane(end) <= end


@given(st.sampled_from(ZONES), times)
def test_a_day_holds_what_local_clocks_call_it(zone: str, at: int) -> None:
    start, end = CalendarPeriods("day", zone).pane(at)
    if zone != "America/St_Johns":  # there a day began again for a minute
        assert local(start, zone).date() == local(at, zone).date() == local(end - 1, zone).date()
        assert local(start - 1000, zone).date() < local(at, zone).date() < local(end, zone).date()


@given(st.sampled_from(ZONES), times)
def test_weeks_begin_on_monday_and_months_on_the_first(zone: str, at: int) -> None:
    assert local(CalendarPeriods("week", zone).pane(at)[0] + 3_600_000, zone).weekday() == 0
    assert local(CalendarPeriods("month", zone).pane(at)[0] + 3_600_000, zone).day == 1


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-06-01", 24)])
def test_a_day_on_which_the_clock_is_changed_is_shorter_or_longer(day: str, hours: int) -> None:
    noon = int(
        (datetime.fromisoformat(day) + timedelta(hours=12)).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    )
    start, end = CalendarPeriods("day", "Europe/Berlin").pane(noon * 1000)
    assert end - start == hours * 3_600_000


def test_years_that_no_calendar_knows_have_a_period_too() -> None:
    for at in (-(1 << 60), 1 << 60):
        start, end = CalendarPeriods("day", "UTC").pane(at)
        assert end - start == 86_400_000

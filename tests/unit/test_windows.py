"""Event time: the watermark follows packs and ticks, never the clock."""

from __future__ import annotations

from dpiped.windows import BEFORE_ALL_MS, Watermark, WindowPolicy

POLICY = WindowPolicy(lateness_ms=5_000, idle_ms=3_000, max_ahead_ms=60_000, tick_ms=1_000)


def test_it_is_the_newest_event_minus_the_lateness() -> None:
    mark = Watermark(POLICY)
    assert mark.at_ms == BEFORE_ALL_MS
    mark.saw(100_000)
    assert mark.at_ms == 95_000
    mark.saw(50_000)
    assert mark.at_ms == 95_000, "it never goes back"
    mark.saw(101_000)
    assert mark.at_ms == 96_000


def test_idle_ticks_move_it_to_the_end_of_the_newest_window_with_data() -> None:
    mark = Watermark(POLICY)
    mark.saw(100_000)
    for _ in range(2):
        mark.tick(120_000)
        assert mark.at_ms == 95_000
    mark.tick(120_000)
    assert mark.at_ms == 120_000
    mark.tick(110_000)
    assert mark.at_ms == 120_000


def test_events_start_the_count_of_idle_ticks_anew_and_no_data_moves_nothing() -> None:
    mark = Watermark(POLICY)
    for n in range(20):
        mark.saw(100_000 + n)
        mark.tick(200_000)
        mark.tick(200_000)
    assert mark.at_ms == 95_019
    empty = Watermark(POLICY)
    for _ in range(10):
        empty.tick(None)
    assert empty.at_ms == BEFORE_ALL_MS


def test_its_state_is_all_there_is() -> None:
    one, two = Watermark(POLICY), Watermark(POLICY)
    one.saw(100_000)
    one.tick(120_000)
    one.tick(120_000)
    two.loads(one.dumps())
    for mark in (one, two):
        mark.tick(120_000)
    assert one.dumps() == two.dumps() == (120_000, 100_000, 3)


def test_how_far_ahead_an_event_may_be_is_told_from_acceptance() -> None:
    assert Watermark(POLICY).horizon(1_000_000) == 1_060_000


def test_the_end_closes_all() -> None:
    mark = Watermark(POLICY)
    mark.close_all(None)
    assert mark.at_ms == BEFORE_ALL_MS
    mark.close_all(130_000)
    assert mark.at_ms == 130_000

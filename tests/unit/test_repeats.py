"""What happens again and again is logged once and then summed up; the metrics know all of it at once."""

from __future__ import annotations

import logging

import pytest

from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import EventsDropped, EventsRejected
from dpiped.telemetry.repeats import MOST_REASONS, SUM_UP_SECS, Repeats


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def dropped(amount: int, reason: str = "late") -> EventsDropped:
    return EventsDropped(plugin="f", amount=amount, reason=reason)


def test_the_first_passes_and_the_next_are_summed_up() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    assert repeats.passes(dropped(1)) == dropped(1)
    assert repeats.passes(dropped(2)) is None
    assert repeats.passes(dropped(3)) is None
    assert repeats.passes(dropped(4, "other")) == dropped(4, "other")
    assert repeats.passes(EventsRejected(plugin="f", amount=5, reason="late")) is not None
    assert repeats.due() == []
    clock.now = SUM_UP_SECS
    assert repeats.due() == [dropped(5)]
    assert repeats.due() == []
    assert repeats.passes(dropped(7)) is None, "it was logged just now"
    clock.now = 2 * SUM_UP_SECS
    assert repeats.passes(dropped(1)) == dropped(8), "also without anybody asking what is due"
    clock.now = 4 * SUM_UP_SECS
    assert repeats.passes(dropped(9)) == dropped(9)


def test_reasons_without_end_are_not_remembered_without_end() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    for number in range(MOST_REASONS + 10):
        assert repeats.passes(dropped(1, f"reason {number}")) is not None
    assert repeats.passes(dropped(1, f"reason {MOST_REASONS + 5}")) is not None
    clock.now = 2 * SUM_UP_SECS
    repeats.due()
    assert repeats.passes(dropped(1, "again")) is not None
    assert repeats.passes(dropped(1, "again")) is None


def test_metrics_count_at_once(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    with caplog.at_level(logging.WARNING, "dpipe"):
        for _ in range(5):
            telemetry.emit(dropped(2))
    assert [record.getMessage() for record in caplog.records] == ["events dropped"]
    assert telemetry.metrics.dropped.labels("f", "late")._value.get() == 10

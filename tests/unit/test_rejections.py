"""What is told of a batch with refused events: each reason with its count, few lines whatever senders send."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dpiped.telemetry.events import SHOWN_REASONS, rejections
from dpiped.testing import post, running


def test_each_reason_is_told_with_its_count() -> None:
    told = [(event.reason, event.amount) for event in rejections("in", ["a", "b", "a", "c", "a", "b"])]
    assert told == [("a", 3), ("b", 2), ("c", 1)]


def test_reasons_without_end_are_few_lines() -> None:
    told = [
        (event.reason, event.amount) for event in rejections("in", ["often", *(f"once {n}" for n in range(99))] * 2)
    ]
    assert len(told) == SHOWN_REASONS + 1
    assert told[-1][0] == "other reasons"
    assert sum(amount for _, amount in told) == 200
    assert list(rejections("in", [])) == []


async def test_the_log_names_all_reasons_of_a_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = (
        '[[project]]\nname = "rs"\n[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n[[output]]\ntype = "discard"\n'
    )
    with caplog.at_level(logging.WARNING, "dpipe"):
        async with running(config, tmp_path) as engine:
            status, _ = await post(engine, "rs/app", b'{"n":1}\nno json\n7\nnor this\n')
            assert status == 200
            assert engine.telemetry.metrics.rejected.labels("http")._value.get() == 3
    told = [record.details for record in caplog.records if record.message == "events rejected"]  # type: ignore[attr-defined]
    assert sorted(details["amount"] for details in told) == [1, 2]
    assert len({details["reason"] for details in told}) == 2

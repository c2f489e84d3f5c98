"""Every crash point, and random kills: nothing acknowledged is lost or doubled, every answer is what it would be."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dpiped.crashpoint import POINTS
from tests.crash.oracle import Verdict
from tests.crash.road import Journal
from tests.crash.rounds import point_round, power_round, random_round

Accidents = Callable[[Path, random.Random, int, Journal], Awaitable[list[Verdict]]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_at_a_point_all_is_as_promised(point: str, tmp_path: Path) -> None:
    verdicts, crashes = await point_round(tmp_path, random.Random(point), point, (1, 3))
    assert crashes == 2, "it did not come there"
    assert [verdict for verdict in verdicts if not verdict.clean] == []
    assert verdicts[0].acked > 50


@pytest.mark.parametrize("accidents", [random_round, power_round])
@pytest.mark.parametrize("journal", ["kept", "freed", "held"])
async def test_after_accidents_at_random_moments_all_is_as_promised(
    journal: Journal, accidents: Accidents, tmp_path: Path
) -> None:
    seed = int(os.environ.get("DPIPE_CRASH_SEED", random.randrange(10**6)))
    print("DPIPE_CRASH_SEED =", seed)
    verdicts = await accidents(tmp_path, random.Random(seed), 8, journal)
    assert [verdict for verdict in verdicts if not verdict.clean] == []
    assert verdicts[0].acked > 100

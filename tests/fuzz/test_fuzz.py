"""Every target for a moment, so that a new defect shows soon; long runs are `./dev fuzz`."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_what_is_expected(name: str) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    assert fuzz(name, 1.0, seed) > 0

"""The scenarios in short: what they promise is checked, how fast it goes is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.endurance.scenarios import SCENARIOS


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "secs"), [("overload", 12), ("isolation", 5), ("reloads", 8), ("soak", 15)])
async def test_scenario(name: str, secs: float, tmp_path: Path) -> None:
    print(await SCENARIOS[name](tmp_path, secs))

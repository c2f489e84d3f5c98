"""The janitor names the runner that holds packs for too long, once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dpiped.pack import Head
from dpiped.testing import running

CONFIG = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n[[output]]\ntype = "discard"\nname = "slow"\n'


async def test_idle_packs_are_reported_with_their_runner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(CONFIG, tmp_path) as engine:
        pack = engine.pool.take(Head(offset=7), b"", b"", "slow")
        later = time.monotonic() + 121
        with monkeypatch.context() as patch:
            patch.setattr("dpiped.pack.time.monotonic", lambda: later)
            with caplog.at_level("INFO", logger="dpipe"):
                engine.janitor._report_idle_packs()
                engine.janitor._report_idle_packs()
        engine.pool.release(pack, "slow")
    told = [record for record in caplog.records if "untouched" in record.getMessage()]
    assert len(told) == 1
    assert told[0].details["plugin"] == "slow"  # type: ignore[attr-defined]
    assert engine.pool.in_use == 0

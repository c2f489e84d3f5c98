"""The janitor names the runner that holds packs for too long, once, and what is kept for replays stops no input."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from dpiped.pack import Head
from dpiped.testing import post, running, until

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


@pytest.mark.parametrize(("max_secs", "told"), [(300, 0), (1, 1)])
async def test_a_batch_that_waits_for_more_is_no_idle_pack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, max_secs: int, told: int
) -> None:
    async with running(f"{CONFIG}batch = {{ max_secs = {max_secs} }}\n", tmp_path) as engine:
        pack = engine.pool.take(Head(offset=7), b"", b"", "slow")
        later = time.monotonic() + 200
        with monkeypatch.context() as patch:
            patch.setattr("dpiped.pack.time.monotonic", lambda: later)
            with caplog.at_level("INFO", logger="dpipe"):
                engine.janitor._report_idle_packs()
        engine.pool.release(pack, "slow")
    assert len([one for one in caplog.records if "untouched" in one.getMessage()]) == told


async def test_what_is_kept_for_replays_makes_room_before_inputs_wait(tmp_path: Path) -> None:
    async with running(f'[journal]\nkeep_secs = 1e9\nmax_bytes = "2MiB"\n{CONFIG}', tmp_path) as engine:
        storage, most = engine.journal.storage, 0
        for number in range(60):
            body = b'{"n":%d,"pad":"%s"}' % (number, os.urandom(50_000).hex().encode())
            status, _ = await post(engine, "default/web", body)
            assert status == 200
            if number % 10 == 9:
                behind = engine.runners[0]
                await until(lambda: behind.saved.cursor >= engine.journal.next)  # noqa: B023 - it is waited for here
                await engine.janitor.free()
                most = max(most, storage.used_bytes)
        assert most > 1 << 20
        assert storage.first() > 0


async def test_what_is_kept_for_replays_goes_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(f"[journal]\nkeep_secs = 1e9\n{CONFIG}", tmp_path) as engine:
        storage = engine.journal.storage
        for _ in range(2):
            storage._good = 1 << 40  # type: ignore[attr-defined] # each begins a segment
            assert (await post(engine, "default/web", b"{}"))[0] == 200
        await until(lambda: engine.runners[0].saved.cursor >= engine.journal.next)
        await engine.janitor.free()
        assert storage.first() == 0
        monkeypatch.setattr(storage, "free_disk_bytes", lambda: 0)
        engine.journal.room._looked_at = 0.0
        await engine.janitor.free()
        assert storage.first() > 0


async def test_a_snapshot_that_is_not_due_holds_no_full_journal(tmp_path: Path) -> None:
    sums = '[[filter]]\ntype = "aggregate"\nname = "sums"\nmetrics = { n = { op = "count" } }\n'
    keys = "snapshot_interval_secs = 3600\ntick_secs = 0.1\n"
    async with running(f'[journal]\nmax_bytes = "2MiB"\n{CONFIG}{sums}', tmp_path, engine_keys=keys) as engine:
        refused = 0
        async with asyncio.timeout(20):
            for number in range(60):
                body = b'{"n":%d,"pad":"%s"}' % (number, os.urandom(50_000).hex().encode())
                while (await post(engine, "default/web", body))[0] != 200:
                    refused += 1
                    await asyncio.sleep(0.1)
        assert refused

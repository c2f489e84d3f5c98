"""The scenarios. Each returns what was seen, and raises AssertionError when a promise is not kept."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.demo.road import free_port
from tests.endurance.flood import Flood, Sink, numbers_in
from tests.endurance.watched import Watched, watched

FILE = '[[output]]\ntype = "file"\nname = "{name}"\npath = "{folder}/{name}.ndjson"\nmetadata = false\n'
WEB = '[[output]]\ntype = "http"\nname = "{name}"\nurl = "{url}/"\nmetadata = false\nretry = {{ max_secs = 1 }}\n{more}'
COUNT = (
    '[[filter]]\ntype = "aggregate"\nname = "traffic"\nident = "stats"\nwindow_secs = 10\nslide_secs = 2\n'
    'group_by = ["area"]\nmetrics = { hits = { op = "count" } }\n'
)
FULL_SECS = 120.0
"""By then the journal is full, however slow the machine."""
Seen = dict[str, float]


def exactly(file: Path, accepted: int) -> None:
    """Every accepted event is in the file once."""
    found = numbers_in(file)
    lost = accepted - len(found)
    doubled = found.total() - len(found)
    assert (lost, doubled) == (0, 0), f"{file.name}: {lost} lost, {doubled} doubled of {accepted}"


def flat(daemon: Watched, most: float = 1.25) -> Seen:
    """Memory and descriptors did not grow."""
    growth = daemon.growth()
    assert growth < most, f"memory grew to {growth:.2f} of what it was"
    quarter = max(len(daemon.descriptors) // 4, 1)
    descriptors = max(daemon.descriptors[-quarter:])
    assert descriptors <= max(daemon.descriptors[quarter : 2 * quarter] or daemon.descriptors) + 20
    return {"rss_mib": max(daemon.rss) / 2**20, "growth": growth, "descriptors": descriptors}


async def overload(folder: Path, secs: float) -> Seen:
    """More comes than a slow store takes: senders are told to wait, memory stays flat, nothing is lost."""
    async with Sink(2.0) as sink:
        tables = FILE.format(name="fast", folder=folder) + WEB.format(
            name="slow", url=sink.address, more="batch = { max_events = 2000 }\n"
        )
        async with watched(folder, tables, '[journal]\nmax_bytes = "4MiB"\n') as daemon:
            flood = Flood(daemon.url, senders=8)
            task = asyncio.create_task(flood.run())
            await asyncio.wait_for(flood.refused.wait(), FULL_SECS)
            sink.secs = 0.25
            await asyncio.sleep(secs)
            flood.stop()
            await task
            sink.secs = 0.0
            await daemon.passed("fast", "slow")
        exactly(folder / "fast.ndjson", flood.accepted)
        missing = flood.accepted - len(sink.seen)
        assert missing == 0, f"{missing} events never came to the slow store"
        return {"accepted": flood.accepted, "refusals": flood.refusals, **flat(daemon)}


async def isolation(folder: Path, secs: float) -> Seen:
    """Beside one dead and one slow output the two healthy ones go on; what the others want is kept for them."""
    alone = await _speed_of_the_healthy(folder / "alone", secs, "")
    async with Sink(0.5) as sink:
        dead = WEB.format(name="dead", url=f"http://127.0.0.1:{free_port()}", more="")
        slow = WEB.format(name="slow", url=sink.address, more="batch = { max_events = 1000 }\n")
        beside = await _speed_of_the_healthy(folder / "beside", secs, dead + slow, sink)
    return {"alone_per_sec": alone, "beside_per_sec": beside, "share": beside / alone}


async def _speed_of_the_healthy(folder: Path, secs: float, others: str, sink: Sink | None = None) -> float:
    tables = FILE.format(name="one", folder=folder) + FILE.format(name="two", folder=folder) + others
    async with watched(folder, tables) as daemon:
        flood = Flood(daemon.url)
        began = time.monotonic()
        task = asyncio.create_task(flood.run())
        await asyncio.sleep(secs)
        flood.stop()
        await task
        await daemon.passed("one", "two")
        took = time.monotonic() - began
        exactly(folder / "one.ndjson", flood.accepted)
        exactly(folder / "two.ndjson", flood.accepted)
        if sink is not None:
            lag = {one["name"]: one["lag_packs"] for one in (await daemon.stat())["plugins"] if "lag_packs" in one}
            assert lag["dead"] > 0
            text = daemon.config.read_text()
            daemon.config.write_text(text.replace('name = "dead"', 'name = "dead"\ndisabled = true'))
            assert await daemon.reload() == 200  # so that the stop does not wait for it
            sink.secs = 0.0
            await daemon.passed("slow")
            assert flood.accepted - len(sink.seen) == 0
        return flood.accepted / took


async def reloads(folder: Path, secs: float) -> Seen:
    """The config changes all the time while events come: what stays in it misses nothing."""
    stays = FILE.format(name="stays", folder=folder)
    async with watched(folder, COUNT + stays) as daemon:
        text = daemon.config.read_text()
        variants = [
            text,
            text + FILE.format(name="comes", folder=folder),
            text.replace(stays, stays + 'where = "n >= 0"\n'),
            text.replace("slide_secs = 2", "slide_secs = 5"),
            text.replace("path =", "pth ="),
            text.replace(COUNT, ""),
        ]
        flood = Flood(daemon.url, per_second=5_000)
        task = asyncio.create_task(flood.run())
        amount, refused, until = 0, 0, time.monotonic() + secs
        while time.monotonic() < until:
            daemon.config.write_text(variants[amount % len(variants)])
            status = await daemon.reload()
            assert status == (422 if "pth =" in daemon.config.read_text() else 200)
            refused += status == 422
            amount += 1
        flood.stop()
        await task
        await daemon.passed("stays")
        exactly(folder / "stays.ndjson", flood.accepted)
    return {"reloads": amount, "refused": refused, "accepted": flood.accepted, **flat(daemon, 1.5)}


async def soak(folder: Path, secs: float) -> Seen:
    """A steady load for a long time: memory and descriptors stay as they are."""
    tables = (
        COUNT
        + FILE.format(name="all", folder=folder)
        + (
            f'[[output]]\ntype = "file"\nname = "packed"\npath = "{folder}/%H%M/{{ident}}.gz"\ncompression = "gzip"\n'
            f'[[output]]\ntype = "file"\nname = "answers"\nmatch = ["stats"]\npath = "{folder}/stats.ndjson"\n'
        )
    )
    async with watched(folder, tables) as daemon:
        flood = Flood(daemon.url, per_second=20_000)
        task = asyncio.create_task(flood.run())
        await asyncio.sleep(secs)
        flood.stop()
        await task
        await daemon.passed("all", "packed")
        exactly(folder / "all.ndjson", flood.accepted)
        assert (folder / "stats.ndjson").stat().st_size > 0
    return {"accepted": flood.accepted, **flat(daemon, 1.15)}


SCENARIOS = {"overload": overload, "isolation": isolation, "reloads": reloads, "soak": soak}

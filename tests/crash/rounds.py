"""Rounds of accidents on a fresh road, each judged at its end."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.crash.oracle import Verdict, judge
from tests.crash.road import Journal, Process, Road


async def random_round(folder: Path, chance: random.Random, kills: int, journal: Journal = "kept") -> list[Verdict]:
    """Kills one process after the other at random moments; now and then it is asked to stop instead."""
    road = Road(folder, chance, journal)
    try:
        await road.start()
        for _ in range(kills):
            await asyncio.sleep(0.2 + chance.random() * 1.2)
            process = chance.choices(road.processes, (5, 2, 3))[0]
            await process.end(signal.SIGTERM if chance.randrange(8) == 0 else signal.SIGKILL)
            await process.start()
        await road.finish()
        return await asyncio.to_thread(judge, road)
    finally:
        await road.kill_all()


async def power_round(folder: Path, chance: random.Random, failures: int, journal: Journal = "kept") -> list[Verdict]:
    """The power of one machine after the other fails at random moments."""
    road = Road(folder, chance, journal)
    road.can_lose_power()
    try:
        await road.start()
        for _ in range(failures):
            await asyncio.sleep(0.4 + chance.random() * 1.5)
            process = chance.choices(road.processes, (5, 2, 2))[0]
            await process.lose_power(chance)
            await process.start()
        await road.finish()
        return await asyncio.to_thread(judge, road)
    finally:
        await road.kill_all()


async def point_round(
    folder: Path, chance: random.Random, point: str, turns: Sequence[int]
) -> tuple[list[Verdict], int]:
    """(verdicts, how often the process ended there): it ends there once for each of `turns`, when it has come there so
    often.
    """
    road = Road(folder, chance, journal_for(point))
    process = victim(road, point)
    crashes = 0
    try:
        await road.start()
        await process.end(signal.SIGKILL)
        for turn in turns:
            await process.start(f"{point}:{turn}")
            status = await process.ended(20)
            crashes += status == -signal.SIGKILL
            if status is None:
                await process.end(signal.SIGKILL)
        await process.start()
        await road.finish()
        return await asyncio.to_thread(judge, road), crashes
    finally:
        await road.kill_all()


def journal_for(point: str) -> Journal:
    """The journal that comes to a point soon."""
    if point.startswith("journal.rewr"):
        return "held"
    return "freed" if point in ("journal.freeing", "journal.rolled") else "kept"


def victim(road: Road, point: str) -> Process:
    """The process that comes to a point."""
    return road.collector if point.startswith(("collector.", "file.")) else road.edge

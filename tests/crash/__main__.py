"""`./dev crash --cycles N --seed S`: kills daemon and collector again and again, and prints what each output got."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dpiped.crashpoint import POINTS
from tests.crash.oracle import Verdict
from tests.crash.road import Journal
from tests.crash.rounds import point_round, power_round, random_round

COLUMNS = ("acked", "lost", "doubled", "foreign", "torn")
KILLS_A_ROUND = 20
"""Then everything is delivered, judged, and begun anew in a fresh folder."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=20, help="how many kills (20)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="the same seed makes the same plan")
    parser.add_argument("--point", choices=tuple(POINTS), help="end the process at this place instead")
    parser.add_argument("--power", action="store_true", help="the power fails too: what was not synced may be lost")
    arguments = parser.parse_args()
    if arguments.power and shutil.which("cc") is None:
        parser.error("--power needs a C compiler, cc")
    logging.disable()  # what a replayed filter reports says nothing new
    print(f"seed {arguments.seed}", flush=True)
    return asyncio.run(run(arguments))


async def run(arguments: argparse.Namespace) -> int:
    began, totals, number = time.monotonic(), defaultdict[str, list[Verdict]](list), 0
    left = arguments.cycles
    while left > 0:
        kills = min(left, KILLS_A_ROUND)
        left -= kills
        number += 1
        chance = random.Random(f"{arguments.seed}/{number}")
        folder = Path(tempfile.mkdtemp(prefix="dpipe-crash-"))
        journal: Journal = ("kept", "held", "freed")[number % 3]
        if arguments.point:
            turns = [chance.randrange(1, 6) for _ in range(kills)]
            verdicts, _ = await point_round(folder, chance, arguments.point, turns)
        elif arguments.power:
            verdicts = await power_round(folder, chance, kills, journal)
        else:
            verdicts = await random_round(folder, chance, kills, journal)
        for verdict in verdicts:
            totals[verdict.output].append(verdict)
        if all(verdict.clean for verdict in verdicts):
            shutil.rmtree(folder)
        else:
            print(f"round {number} went wrong; all of it is in {folder}", flush=True)
        done = arguments.cycles - left
        print(f"round {number}: {done} cycles, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return report(totals, arguments.cycles)


def report(totals: dict[str, list[Verdict]], cycles: int) -> int:
    """Prints a line for each output; status 1 if anything was not as promised."""
    table = Table("output", *COLUMNS, title=f"{cycles} cycles")
    for name, verdicts in totals.items():
        table.add_row(name, *(str(sum(getattr(verdict, key) for verdict in verdicts)) for key in COLUMNS))
    Console(width=100).print(table)
    return 0 if all(verdict.clean for verdicts in totals.values() for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())

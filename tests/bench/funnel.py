"""`./dev bench funnel`: a table of 10 million actions of 200 thousand users, and how long questions about it take."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from dpiped.behavior.columns import Coded
from dpiped.behavior.funnel import funnel
from dpiped.behavior.paths import paths
from dpiped.behavior.retention import retention
from dpiped.behavior.rows import DAY_MS, LINE_BITS, Rows
from dpiped.behavior.scan import Scan
from dpiped.behavior.table import BehaviorTable
from dpiped.behavior.timeline import of_user
from dpiped.telemetry import Telemetry

ACTIONS, USERS, DAYS, PER_PACK = 10_000_000, 200_000, 30, 5_000
NAMES = ["login", "level_up", "view", "click", "buy", "logout", "chat", "trade"]
COUNTRIES: list[str | None] = ["us", "de", "fr", "th", "ae", "br", "tr", "pl", "it", "nl", None]
BOUND_SECS = 30.0
WEEK_MS = 7 * DAY_MS
LOOK_SECS = 0.001


async def main() -> int:
    """With uids as numbers, then as texts; 1 when a funnel takes longer than its bound."""
    return max([await asyncio.to_thread(questions, texts) for texts in (False, True)])


def questions(texts: bool) -> int:
    """Prints seconds and memory of each question; 1 when the funnel takes longer than its bound. Blocking."""
    console, seen = Console(width=110), Table("question", "s", "CPU s", "RSS MiB", "loop late, p99 ms", "worst ms")
    with tempfile.TemporaryDirectory(prefix="dpipe-bench-") as name:
        table = BehaviorTable(Path(name), "players", Telemetry(), texts=texts)
        begun = time.process_time()
        fill(table, texts)
        stored = sum(file.stat().st_size for file in Path(name).rglob("*") if file.is_file())
        text = (
            f"filled: {time.process_time() - begun:.1f} CPU s, {stored / 2**20:.0f} MiB, {table.size().blocks} blocks"
        )
        console.print(text)
        ask(seen, "nothing, for comparison", lambda: time.sleep(2.0))
        steps = ["login", "level_up", "buy"]
        took = ask(
            seen,
            "funnel of 3 steps by country",
            lambda: funnel(Scan(table).users(), steps, within_ms=WEEK_MS, by="country"),
        )
        ask(seen, "retention of 4 days", lambda: retention(Scan(table).users(), [0, 1, 7, 29]))
        ask(seen, "paths of 3", lambda: paths(Scan(table).users(), 3, 20))
        ask(seen, "one user", lambda: of_user(table, "user-7" if texts else 7))
        table.close()
    console.print(seen)
    return 0 if took <= BOUND_SECS else 1


def fill(table: BehaviorTable, texts: bool) -> None:
    """In order of time, as it would come."""
    chance = np.random.default_rng(1)
    for offset in range(ACTIONS // PER_PACK):
        users = chance.integers(0, USERS, PER_PACK)
        begin = offset * DAYS * DAY_MS * PER_PACK // ACTIONS
        none = np.zeros(PER_PACK, np.int64)
        rows = Rows(
            users_of(users) if texts else users,
            begin + np.sort(chance.integers(0, DAYS * DAY_MS * PER_PACK // ACTIONS, PER_PACK)),
            Coded(NAMES, chance.integers(0, len(NAMES), PER_PACK)),
            Coded(["e"], none),
            np.arange(PER_PACK) | offset << LINE_BITS,
            {"country": Coded(COUNTRIES, users % len(COUNTRIES))},
        )
        table.add([("e", offset, rows)])
        if table.wants_fold:
            table.fold()


def users_of(users: np.ndarray) -> Coded[str]:
    """The same users as texts."""
    found, codes = np.unique(users, return_inverse=True)
    return Coded([f"user-{number}" for number in found.tolist()], codes)


def ask(seen: Table, what: str, question: Callable[[], object]) -> float:
    """Asks in a thread, and sees meanwhile how late an event loop is."""
    process = psutil.Process()
    begun, cpu = time.monotonic(), time.process_time()
    late, peak = asyncio.run(watched(question, process))
    took = time.monotonic() - begun
    late.sort()
    seen.add_row(
        what,
        f"{took:.2f}",
        f"{time.process_time() - cpu:.2f}",
        f"{peak / 2**20:.0f}",
        f"{late[len(late) * 99 // 100] * 1000:.1f}" if late else "-",
        f"{late[-1] * 1000:.1f}" if late else "-",
    )
    return took


async def watched(question: Callable[[], object], process: psutil.Process) -> tuple[list[float], int]:
    """(how late each wake-up of the loop was, most memory)."""
    work = asyncio.create_task(asyncio.to_thread(question))
    late, peak = [], process.memory_info().rss
    while not work.done():
        due = time.monotonic() + LOOK_SECS
        await asyncio.sleep(LOOK_SECS)
        late.append(time.monotonic() - due)
        if len(late) % 100 == 0:
            peak = max(peak, process.memory_info().rss)
    await work
    return late, peak

"""`./dev demo`: the logs of a game. A writer appends to log files and POSTs, a collector tails them, a daemon delivers
everything, answers how many users there are and what is slow, and sends a mail when payments fail; all in a temporary
folder.

`--seconds N` ends it by itself, with a summary that proves written = collected = delivered (exit status 1 if not).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.live import Live

from tests.demo.road import Road
from tests.demo.view import Snapshot, summary, view
from tests.demo.writer import Writer
from tests.mailbox import smtp_server

SETTLE_SECS = 30.0
TROUBLE_SECS = 25.0
"""When payments begin to fail."""
MAIL_SECS = 6.0
"""Within so long the mail has come."""
PREFIX = "dpipe-demo-"


async def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long; 0: until Ctrl-C")
    parser.add_argument("--rate", type=int, default=4_000, help="events a second")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    arguments = parser.parse_args()
    console = Console()
    if arguments.keep:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        console.print(f"folder: {folder}")
        return await run(folder, arguments.seconds, arguments.rate, console)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        return await run(Path(name), arguments.seconds, arguments.rate, console)


async def run(folder: Path, seconds: float, rate: int, console: Console) -> int:
    trouble_secs = min(TROUBLE_SECS, seconds * 0.4) if seconds else TROUBLE_SECS
    async with smtp_server() as mailbox, aiohttp.ClientSession() as session:
        road = Road(folder, mailbox)
        started = time.monotonic()
        try:
            await road.start(session)
            writer = Writer(folder / "logs", rate, trouble_secs)
            writing = asyncio.create_task(writer.run(session, road.web))
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await watch(road, writer, session, started, seconds, console)
            finally:
                writing.cancel()
                await asyncio.wait((writing,))
            writer.close()
            told_by_now = time.monotonic() - started > trouble_secs + MAIL_SECS
            last = await settle(road, writer, session)
        finally:
            await road.stop()
    proved = summary(last, writer.written, told_by_now, console)
    return 0 if proved else 1


async def watch(
    road: Road, writer: Writer, session: aiohttp.ClientSession, started: float, seconds: float, console: Console
) -> None:
    """The live view, until the time is up or Ctrl-C."""
    live = Live(console=console, refresh_per_second=4, transient=not console.is_terminal)
    with live if console.is_terminal else contextlib.nullcontext():
        before: Snapshot | None = None
        while not seconds or time.monotonic() - started < seconds:
            await asyncio.sleep(0.5)
            road.check_alive()
            now = await road.snapshot(session)
            if console.is_terminal:
                live.update(view(now, before, writer.written, time.monotonic() - started))
            before = now


async def settle(road: Road, writer: Writer, session: aiohttp.ClientSession) -> Snapshot:
    """Waits until everything that was written has been delivered, or nothing moves any more."""
    deadline = time.monotonic() + SETTLE_SECS
    while True:
        now = await road.snapshot(session)
        if now.delivered >= writer.written or time.monotonic() > deadline:
            return now
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        os._exit(130)

"""When `send` stops trying: standard input has ended, the daemons refuse, and nobody waits for it any more.

A program that starts `send --confirm` (omprog of rsyslog) starts another when it comes back. Those left behind would
try for ever.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import time

from collector.collector import Collector

LOOK_EVERY_SECS = 0.5


async def until_hopeless(collector: Collector, parent: int, most_secs: float | None, fd: int = 0) -> str:
    """Returns why to give up; runs for ever while there is hope.

    Args:
        parent: process id of whoever started this.
        most_secs: how long to try after the end of the input; None: as long as the parent is there.
    """
    ended_at: float | None = None
    while True:
        await asyncio.sleep(LOOK_EVERY_SECS)
        if ended_at is None and has_ended(fd):
            ended_at = time.monotonic()
        trouble = next((lane.trouble for lane in collector.lanes if lane.trouble), "")
        if ended_at is None or not trouble:
            continue
        if os.getppid() != parent:
            return f"gave up, standard input and the parent process are gone: {trouble}"
        if most_secs is not None and time.monotonic() - ended_at >= most_secs:
            return f"gave up {most_secs:g} seconds after the end of standard input: {trouble}"


def has_ended(fd: int) -> bool:
    """Whether nobody can write more to it, read or not: true of files, and of pipes that the other side closed."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return True
    poll = select.poll()
    poll.register(fd, 0)  # the end is told unasked
    return bool(poll.poll(0))

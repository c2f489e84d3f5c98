"""Waiting for a disk: at a start, what it refuses for a while is tried again instead of giving up."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from dpiped.errors import DpipeError
from dpiped.telemetry import Telemetry

T = TypeVar("T")

PAUSE_SECS, MOST_PAUSE_SECS = 0.2, 5.0
_PASSING = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EIO, errno.EDQUOT))


def may_pass(exc: Exception) -> bool:
    """Whether a disk that is full or fails is behind it, so that the same may work later. LevelDB tells it by text
    only.
    """
    return isinstance(exc, OSError | DpipeError) and any(text in str(exc) for text in _PASSING)


def is_unreadable(exc: Exception) -> bool:
    """Whether the disk fails, not only is full."""
    return os.strerror(errno.EIO) in str(exc)


async def patiently(what: str, call: Callable[[], T], telemetry: Telemetry, unreadable_tries: int | None = None) -> T:
    """The result of a blocking call, made in a thread, again and again while the disk is full or fails.

    Raises whatever else it raises, and that the disk fails after `unreadable_tries`.
    """
    return await persist(what, lambda: asyncio.to_thread(call), telemetry, unreadable_tries)


async def done_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done before the stop; else it is cancelled. Raises what it raises."""
    working = asyncio.create_task(work, name="work")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait((working, stopping))


async def persist(
    what: str, attempt: Callable[[], Awaitable[T]], telemetry: Telemetry, unreadable_tries: int | None = None
) -> T:
    """The same for what is awaited."""
    pause, tried = PAUSE_SECS, 0
    while True:
        try:
            return await attempt()
        except Exception as exc:
            tried += 1
            hopeless = unreadable_tries is not None and is_unreadable(exc) and tried >= unreadable_tries
            if hopeless or not may_pass(exc):
                raise
            telemetry.say(f"the start waits for the disk: {what}", detail=str(exc), level=logging.ERROR)
        await asyncio.sleep(pause)
        pause = min(2 * pause, MOST_PAUSE_SECS)

"""What opening and closing leaves behind in this process: file descriptors and tasks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

ROUNDS = 4


async def assert_leaves_nothing(once: Callable[[], Awaitable[None]]) -> None:
    """Of several rounds, behind a first one that may set something up for good.

    A leak shows as a descriptor for each round. Fewer may be another test's: threads of a library that it has done with
    (librdkafka's, a pool's) open and close theirs when they like.
    """
    await once()
    gc.collect()
    before, tasks = _open_files(), len(asyncio.all_tasks())
    for _ in range(ROUNDS):
        await once()
    gc.collect()
    after = _open_files()
    assert len(after) < len(before) + ROUNDS, f"{before} became {after}"
    assert len(asyncio.all_tasks()) <= tasks


def _open_files() -> dict[str, str]:
    """Target of each descriptor."""
    found = {}
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of this look
            found[fd.name] = str(fd.readlink())
    return found

"""A stand-in that runs in a thread of its own, so that tests that block can use it."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

WAIT_SECS = 20


class InThread(ABC):
    """`with Stand(..) as stand`: it serves inside."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=type(self).__name__, daemon=True)

    @abstractmethod
    async def serve(self, ended: asyncio.Event) -> None:
        """Starts, calls `ready`, and serves until `ended` is set."""

    def ready(self) -> None:
        self._ready.set()

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        await self.serve(self._ended)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_SECS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(WAIT_SECS)

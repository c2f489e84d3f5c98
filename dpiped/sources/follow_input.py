"""FollowInput: what inputs of the daemon share that follow files. Collectors have their own use of the Follower."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from collections import Counter
from typing import ClassVar, TypeVar

from dpiped.config.base import Host, PluginConfig
from dpiped.plugin import Emit, Input
from dpiped.sources.noted import PACKED, UNMATCHED, Noted
from dpiped.sources.options import TailOptions
from dpiped.sources.tail import Follower, follow
from dpiped.sources.tail_marks import Chunk, Positions, shown_path


class FollowConfig(PluginConfig, TailOptions):
    """What the config of every such input says."""

    host: Host = ""
    """Name of the machine in the events; empty: what the system says."""


C = TypeVar("C", bound=FollowConfig)


class FollowInput(Input[C]):
    """A subclass says what becomes of a chunk. With more than the marks of files in its position it overrides
    `read_position` and `position`.
    """

    replayable: ClassVar[bool] = True

    async def open(self) -> None:
        self._follower = Follower(self.config.follow_options(checksums=False))
        self._noted = Noted(self.context.telemetry, self.context.name)
        self.host = self.config.host or socket.gethostname()
        text = self.read_position(self.context.start_position)
        self._first = text is None
        self._positions = Positions() if text is None else Positions.parse(text)
        await asyncio.to_thread(self._follower.start, None if text is None else Positions.parse(text))

    def read_position(self, text: str | None) -> str | None:
        """The marks of files in what `position` gave; None at the very first start."""
        return text

    def position(self) -> str:
        """Where the input goes on after the chunk that was applied last."""
        return self._positions.text()

    def path_of(self, number: int) -> str:
        """What the chunks of a file of the position call it; empty if it is not in there."""
        mark = self._positions.files.get(number)
        return shown_path(mark.source) if mark is not None else ""

    async def run(self, emit: Emit) -> None:
        async for chunks in follow(self._follower):
            for chunk in chunks:
                self._positions.apply(chunk)
                await self.take(chunk, emit)
            if self._first:
                await self._mark_start(emit)
            self._noted.tell(self.counts())
            self._noted.tell_found(UNMATCHED, self._follower.unmatched)
            self._noted.tell_found(PACKED, self._follower.packed)

    async def _mark_start(self, emit: Emit) -> None:
        """Told even if nothing was read, so that `read_from = "end"` counts at one start only."""
        await emit(b"", position=self.position())
        self._first = False

    @abstractmethod
    async def take(self, chunk: Chunk, emit: Emit) -> None:
        """Emits what a chunk holds, if anything, with `position`."""

    def counts(self) -> Counter[str]:
        """What is worth telling: what happened -> how often so far."""
        return self._follower.counts

    def status(self) -> dict[str, object]:
        return {
            "files": len(self._follower),
            "open_files": self._follower.open_files,
            "unmatched": list(self._follower.unmatched),
            **self._follower.counts,
        }

    async def close(self) -> None:
        if hasattr(self, "_follower"):
            await asyncio.to_thread(self._follower.close)

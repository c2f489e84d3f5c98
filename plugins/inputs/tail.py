"""Input `tail`: follows files, over rotation, truncation and restarts.

Delivery: every line enters the journal once; how far each file was read is stored in one write with its events. Lines
that are truncated away before they were read are lost, and every truncation is counted.
"""

from __future__ import annotations

import asyncio
import socket

from dpiped.api import Emit, Follower, Input, Noted, PluginConfig, Positions, TailOptions, follow, register


class TailConfig(PluginConfig, TailOptions):
    host: str = ""
    """Name of the machine in the events; empty: what the system says."""


@register("tail")
class TailInput(Input[TailConfig]):
    replayable = True
    default_codec = "raw"

    async def open(self) -> None:
        self._follower = Follower(self.config.follow_options(checksums=False))
        self._host = self.config.host or socket.gethostname()
        self._noted = Noted(self.context.telemetry, self.context.name)
        text = self.context.start_position
        self._first = text is None
        self._positions = Positions() if text is None else Positions.parse(text)
        start = None if text is None else Positions.parse(text)
        await asyncio.to_thread(self._follower.start, start)

    async def run(self, emit: Emit) -> None:
        if self._first and not len(self._follower):
            await self._mark_start(emit)
        async for chunks in follow(self._follower):
            for chunk in chunks:
                self._positions.apply(chunk)
                if chunk.data:
                    codec = self.context.codec(chunk.codec) if chunk.codec and self.context.codec else None
                    await emit(
                        chunk.data, source=chunk.path, host=self._host, codec=codec, position=self._positions.text()
                    )
            if self._first:
                await self._mark_start(emit)
            self._noted.tell(self._follower.counts)

    async def _mark_start(self, emit: Emit) -> None:
        """Told even if nothing was read, so that `read_from = "end"` counts at one start only."""
        await emit(b"", position=self._positions.text())
        self._first = False

    async def close(self) -> None:
        if hasattr(self, "_follower"):
            await asyncio.to_thread(self._follower.close)

    def status(self) -> dict[str, object]:
        return {"files": len(self._follower), "open_files": self._follower.open_files, **self._follower.counts}

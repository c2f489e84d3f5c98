"""Input `tail`: follows files, over rotation, truncation and restarts.

Delivery: every line enters the journal once; how far each file was read is stored in one write with its events. What
rotation moved aside before anybody looked, also while nothing ran, is found by name and time as long as it is in the
same folder. Lines that are truncated away before they were read are lost, and every truncation is counted.
"""

from __future__ import annotations

from dpiped.api import Chunk, Emit, FollowConfig, FollowInput, register


class TailConfig(FollowConfig):
    """Those of all inputs that follow files."""


@register("tail")
class TailInput(FollowInput[TailConfig]):
    default_codec = "raw"

    async def take(self, chunk: Chunk, emit: Emit) -> None:
        if chunk.data:
            codec = self.context.codec(chunk.codec) if chunk.codec and self.context.codec else None
            await emit(chunk.data, source=chunk.path, host=self.host, codec=codec, position=self.position())

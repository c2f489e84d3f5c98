"""Input `tail`: follows files, over rotation, truncation and restarts.

Delivery: every line enters the journal once; how far each file was read is stored in one write with its events. What
rotation moved aside before anybody looked, also while nothing ran, is found by name and time as long as it is in the
same folder: `app.log.1`, `app.log-20260102`, `app-2026-01-02.log`, `app.log.old`, each also with `.gz`; and `app-2.log`
when the file before it was seen to become `app-1.log`. `app.log~` is taken for the copy of an editor. Lines that
are truncated away before they were read are lost, and every truncation is counted. What is put in the place of a file,
as editors save, is read on where it was; if that was less than 1 KiB, it is read anew.
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

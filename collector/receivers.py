"""The inputs that go through the spool: syslog, stdin."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

from collector.checkpoint import Checkpoint
from collector.config import StdinInput, SyslogInput
from collector.spool_feed import Piece, SpoolFeed
from dpiped.config.base import is_loopback
from dpiped.sources.gatherer import Block
from dpiped.sources.lines import LineCutter, read_lines
from dpiped.sources.syslog import SyslogListener
from dpiped.telemetry import Telemetry

BLOCK_BYTES = 256 << 10
"""Smaller than the daemon's: four blocks at most are held in memory, and a batch that is too large can be halved
twice.
"""


class SyslogFeed(SpoolFeed):
    """What a listener receives. TCP peers wait while the spool takes nothing; datagrams are dropped by the kernel
    then.
    """

    def __init__(
        self,
        config: SyslogInput,
        folder: Path | None,
        checkpoint: Checkpoint,
        host: str,
        max_bytes: int,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(config.name, config, config.codec, folder, checkpoint, host, max_bytes, telemetry)
        options = dataclasses.replace(config.listen_options(), block_bytes=BLOCK_BYTES, codec=config.codec)
        self._listener = SyslogListener(options, telemetry, config.name)

    async def open(self) -> None:
        await super().open()
        await self._listener.open()
        self.telemetry.say("listening", plugin=self.name, detail=self._listener.address)

    def renew(self) -> bool:
        """Takes the files of TLS again; see dpiped.tls. Raises TlsError."""
        return self._listener.renew()

    async def receive(self) -> AsyncIterator[list[Piece]]:
        while True:
            yield by_host(await self._listener.take())

    async def rest(self) -> list[Piece]:
        await self._listener.close()
        return [] if self._listener.idle else by_host(await self._listener.take())

    async def close(self) -> None:
        await self._listener.close()
        await super().close()

    def status(self) -> dict[str, object]:
        return {**super().status(), "address": self._listener.address, "connections": self._listener.connections}

    def counts(self) -> dict[str, int]:
        return dict(self._listener.counts)


class StdinFeed(SpoolFeed):
    """Standard input, or another descriptor."""

    def __init__(
        self,
        config: StdinInput,
        folder: Path | None,
        checkpoint: Checkpoint,
        host: str,
        max_bytes: int,
        telemetry: Telemetry,
        fd: int = 0,
    ) -> None:
        super().__init__(config.name, config, config.codec, folder, checkpoint, host, max_bytes, telemetry)
        self._fd = fd
        self._cutter = LineCutter(config.max_line_bytes)
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)

    async def receive(self) -> AsyncIterator[list[Piece]]:
        """Reads on while the last block is written, so that blocks grow under load."""
        waiting = self._waiting
        reader = asyncio.create_task(self._fill(waiting), name=f"{self.name}-stdin")
        try:
            while True:
                blocks = [await waiting.get()]
                while not waiting.empty():
                    blocks.append(waiting.get_nowait())
                data = b"".join(blocks)
                if data:
                    yield [("", data)]
                if not blocks[-1]:
                    await reader
                    return
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _fill(self, waiting: asyncio.Queue[bytes]) -> None:
        async for data in read_lines(self._fd, self._cutter):
            await waiting.put(data)
        await waiting.put(b"")

    async def rest(self) -> list[Piece]:
        blocks = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        data = b"".join(blocks) + self._cutter.finish()
        return [("", data)] if data else []

    def counts(self) -> dict[str, int]:
        return {"line_cut": self._cutter.cut} if self._cutter.cut else {}


def by_host(block: Block) -> list[Piece]:
    """One piece for each peer; a peer on this machine is this machine (empty host)."""
    hosts = set(block.hosts)
    if len(hosts) == 1:
        return [(_foreign(hosts.pop()), block.data)]
    lines: dict[str, list[bytes]] = {}
    for host, line in zip(block.hosts, block.data.split(b"\n"), strict=False):
        lines.setdefault(_foreign(host), []).append(line)
    return [(host, b"\n".join([*some, b""])) for host, some in lines.items()]


def _foreign(host: str) -> str:
    return "" if not host or is_loopback(host) else host

"""`send --confirm`: the protocol of rsyslog's omprog. A line in, `OK` out when it is acknowledged; `OK` first of all.

With `useTransactions="on"` rsyslog writes `BEGIN TRANSACTION` and `COMMIT TRANSACTION`: lines between them are answered
`DEFER_COMMIT` at once, and `OK` to the commit means all of them. What was not answered OK rsyslog sends again.
"""

from __future__ import annotations

import asyncio
import os

from collector.checkpoint import Checkpoint, Range
from collector.config import StdinInput
from collector.feed import Feed, Put
from collector.item import Item, pack
from dpiped.sources.lines import LineCutter, read_lines

BEGIN, COMMIT = b"BEGIN TRANSACTION", b"COMMIT TRANSACTION"


class ConfirmFeed(Feed):
    """Reads lines from one descriptor and answers on another."""

    def __init__(self, config: StdinInput, checkpoint: Checkpoint, host: str, fd: int = 0, answers: int = 1) -> None:
        super().__init__(config.name, checkpoint)
        self._config = config
        self._host = config.host or host
        self._fd, self._answers = fd, answers
        self._cutter = LineCutter(config.max_line_bytes)
        self._settled = asyncio.Event()
        self._deferred: list[bytes] | None = None

    async def open(self) -> None:
        """Nothing to take up."""

    async def run(self, put: Put) -> None:
        self._say("OK")
        async for block in read_lines(self._fd, self._cutter):
            lines: list[bytes] = []
            for line in block[:-1].split(b"\n"):
                if line == BEGIN:
                    await self._flush(lines, put)
                    self._deferred = []
                    self._say("OK")
                elif line == COMMIT:
                    await self._send(self._deferred or [], put)
                    self._deferred = None
                    self._say("OK")
                elif self._deferred is not None:
                    self._deferred.append(line)
                    self._say("DEFER_COMMIT")
                else:
                    lines.append(line)
            await self._flush(lines, put)

    async def _flush(self, lines: list[bytes], put: Put) -> None:
        """Lines outside of a transaction: each has its answer."""
        await self._send(lines, put)
        for _ in lines:
            self._say("OK")
        lines.clear()

    async def _send(self, lines: list[bytes], put: Put) -> None:
        """Returns when they are acknowledged."""
        if not lines:
            return
        config = self._config
        what = Range(config.name, config.project, config.ident, "", config.codec, self.bytes, self.bytes + len(lines))
        self.bytes += sum(map(len, lines)) + len(lines)
        self._settled.clear()
        await put(0, pack(self, what, self._host, b"\n".join([*lines, b""])))
        await self._settled.wait()

    def _say(self, word: str) -> None:
        os.write(self._answers, f"{word}\n".encode())

    async def again(self, what: Range) -> Item | None:
        return None  # without a checkpoint nothing is found at start

    def settle(self, item: Item) -> None:
        self._settled.set()

    async def close(self) -> None:
        """The descriptors are not ours."""

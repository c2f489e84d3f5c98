"""The writer: appends realistic als and syslog lines to two files, and rotates them now and then, as servers do."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from plugins.inputs.demo import als_line, syslog_line

TURNS_PER_SEC = 10
ROTATE_LINES = 30_000


class Writer:
    def __init__(self, folder: Path, rate: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._rate = rate
        self._chance = random.Random(7)
        self._files = {name: (folder / name).open("ab", buffering=0) for name in ("game.log", "messages.log")}
        self._lines = dict.fromkeys(self._files, 0)
        self.written = 0
        """Lines in all files."""

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            now = int(time.time() * 1000)
            share = max(1, self._rate // TURNS_PER_SEC)
            self._append(
                "game.log", b"".join(als_line(self._chance, now) for _ in range(share * 3 // 4)), share * 3 // 4
            )
            rest = share - share * 3 // 4
            self._append("messages.log", b"".join(syslog_line(self._chance, now) for _ in range(rest)), rest)
            due = max(due + 1 / TURNS_PER_SEC, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _append(self, name: str, data: bytes, lines: int) -> None:
        self._files[name].write(data)
        self.written += lines
        self._lines[name] += lines
        if self._lines[name] >= ROTATE_LINES:
            self._rotate(name)

    def _rotate(self, name: str) -> None:
        """By rename, as logrotate does."""
        self._files[name].close()
        (self._folder / name).rename(self._folder / f"{name}.1")
        self._files[name] = (self._folder / name).open("ab", buffering=0)
        self._lines[name] = 0

    def close(self) -> None:
        for file in self._files.values():
            file.close()

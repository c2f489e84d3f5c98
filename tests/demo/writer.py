"""The writer: appends realistic als and syslog lines to two files, and rotates them now and then, as servers do; POSTs
what web pages say; and at some moment lets payments fail.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import aiohttp

from plugins.inputs.demo import PAGES, als_line, syslog_line

TURNS_PER_SEC = 10
ROTATE_LINES = 30_000
TROUBLE_LASTS_SECS = 15.0


class Writer:
    def __init__(self, folder: Path, rate: int, trouble_secs: float) -> None:
        """Payments fail from `trouble_secs` on, for TROUBLE_LASTS_SECS."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._rate = rate
        self._chance = random.Random(7)
        self._files = {name: (folder / name).open("ab", buffering=0) for name in ("game.log", "messages.log")}
        self._lines = dict.fromkeys(self._files, 0)
        self.written = 0
        """Lines in all files, and events that were POSTed."""
        self._trouble_at = time.monotonic() + trouble_secs

    async def run(self, session: aiohttp.ClientSession, web: str) -> None:
        due = time.monotonic()
        while True:
            now = int(time.time() * 1000)
            share = max(8, self._rate // TURNS_PER_SEC)
            play, pages, rest = share // 2, share // 4, share - share // 2 - share // 4
            self._append("game.log", b"".join(als_line(self._chance, now) for _ in range(play)), play)
            self._append("messages.log", b"".join(syslog_line(self._chance, now) for _ in range(rest)), rest)
            if self._trouble_at <= time.monotonic() < self._trouble_at + TROUBLE_LASTS_SECS:
                self._append("messages.log", self._failure(now), 1)
            await self._post(session, web, pages, now)
            due = max(due + 1 / TURNS_PER_SEC, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _failure(self, now_ms: int) -> bytes:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms / 1000))
        number = self._chance.randrange(10_000, 99_999)
        text = f"<130>1 {stamp}.{now_ms % 1000:03d}Z web-3 shop 4711 - - payment {number} failed: gateway timed out\n"
        return text.encode()

    async def _post(self, session: aiohttp.ClientSession, web: str, amount: int, now_ms: int) -> None:
        """What the pages of players say; they send it again until it is taken."""
        line = '{"@timestamp":%d,"uri":"%s","uid":%d}\n'
        chance = self._chance
        body = "".join(
            line % (now_ms, chance.choice(PAGES), int(chance.paretovariate(1.1) * 1000)) for _ in range(amount)
        )
        while True:
            async with session.post(web, data=body.encode()) as answer:
                if answer.status == 200:
                    break
            await asyncio.sleep(0.5)
        self.written += amount

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

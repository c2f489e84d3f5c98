"""What is sent over the road under test; each event has an id, so that every one of them can be found again."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import zstandard

AT = 1_700_000_000_000
AREAS = ("us", "de", "fr")
MOST_EVENTS = 40
"""Of one batch or burst."""


class Source:
    """Makes events; `sent` is what the road has promised to deliver."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self.sent: Counter[str] = Counter()
        self.in_us: Counter[str] = Counter()
        """Those of area `us`, which a filter copies."""
        self.bad: Counter[bytes] = Counter()
        """Lines that cannot be events."""
        self.stop = asyncio.Event()
        self.filling = 0
        """Bytes of noise in each event."""
        self._number = 0
        self._time = AT

    def burst(self) -> list[tuple[str, str, bytes]]:
        """(id, area, line) of some new events."""
        some = []
        for _ in range(self.chance.randrange(1, MOST_EVENTS)):
            self._number += 1
            self._time += self.chance.randrange(200)
            late = self.chance.randrange(20) == 0
            name, area = f"{self.name}-{self._number}", self.chance.choice(AREAS)
            event = {"@timestamp": self._time - (15_000 if late else 0), "id": name, "area": area}
            if self.filling:
                event["noise"] = self.chance.randbytes(self.filling // 2).hex()
            some.append((name, area, self._line(event)))
        return some

    def _line(self, event: dict[str, Any]) -> bytes:
        return json.dumps(event).encode() + b"\n"

    def promise(self, some: list[tuple[str, str, bytes]]) -> None:
        """These were acknowledged, or are in a file that is followed."""
        self.sent.update(name for name, _, _ in some)
        self.in_us.update(name for name, area, _ in some if area == "us")


class Sender(Source):
    """POSTs batches of one stream, each again until it is answered for good, as a collector does."""

    encoding = "identity"

    def __init__(self, name: str, url: str, chance: random.Random) -> None:
        super().__init__(name, chance)
        self._url = url
        self.repeats = 0

    def _packed(self, body: bytes) -> bytes:
        return body

    async def run(self) -> None:
        seq = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while not self.stop.is_set():
                seq += 1
                some = self.burst()
                bad = [b"no event %s-%d" % (self.name.encode(), seq)] if self.chance.randrange(8) == 0 else []
                body = b"".join(line for _, _, line in some) + b"".join(line + b"\n" for line in bad)
                await self._deliver(session, seq, body)
                self.promise(some)
                self.bad.update(bad)
                await asyncio.sleep(self.chance.uniform(0, 0.03))

    async def _deliver(self, session: aiohttp.ClientSession, seq: int, body: bytes) -> None:
        headers = {"X-Dpipe-Batch": f"{self.name}/{seq}/n{seq}", "Content-Encoding": self.encoding}
        body = self._packed(body)
        while True:
            try:
                async with session.post(self._url, data=body, headers=headers) as answer:
                    said: dict[str, Any] = await answer.json()
                    assert answer.status in (200, 503), said
                    if answer.status == 200:
                        self.repeats += bool(said.get("duplicate"))
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass  # killed meanwhile: nobody knows whether it arrived
            await asyncio.sleep(0.02)


class AlsSender(Sender):
    """The same with compressed lines of als: the journal keeps them as they come."""

    encoding = "zstd"

    def __init__(self, name: str, url: str, chance: random.Random) -> None:
        super().__init__(name, f"{url}?codec=als", chance)

    def _line(self, event: dict[str, Any]) -> bytes:
        stamp = event.pop("@timestamp")
        return b"%b,%d,%b" % (event["area"].encode(), stamp, super()._line(event))

    def _packed(self, body: bytes) -> bytes:
        return zstandard.ZstdCompressor().compress(body)


class Writer(Source):
    """Appends lines to a log file, and renames it now and then as logrotate does."""

    def __init__(self, name: str, file: Path, chance: random.Random) -> None:
        super().__init__(name, chance)
        self._file = file
        self._rotations = 0

    async def run(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        while not self.stop.is_set():
            some = self.burst()
            await asyncio.to_thread(self._append, b"".join(line for _, _, line in some))
            self.promise(some)
            await asyncio.sleep(self.chance.uniform(0, 0.06))

    def _append(self, data: bytes) -> None:
        with self._file.open("ab") as handle:
            handle.write(data)
        if self.chance.randrange(60) == 0:
            self._rotations += 1
            self._file.rename(f"{self._file}.{self._rotations}")

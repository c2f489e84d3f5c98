"""A daemon whose memory and descriptors are watched while something is done to it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.crash.road import Process
from tests.demo.road import free_port

ENGINE = """
[engine]
admin = "127.0.0.1:{admin}"
data_dir = "{folder}/data"
drain_timeout_secs = 60
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:{port}"
"""
SAMPLE_SECS = 0.5


@dataclass
class Watched:
    """`rss` and `descriptors` have one sample for each SAMPLE_SECS."""

    process: Process
    config: Path
    url: str
    admin: str
    rss: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    async def watch(self) -> None:
        assert self.process.process is not None
        seen = psutil.Process(self.process.process.pid)
        while True:
            self.rss.append(seen.memory_info().rss)
            self.descriptors.append(seen.num_fds())
            await asyncio.sleep(SAMPLE_SECS)

    async def stat(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/admin/stat") as answer:
            found: dict[str, Any] = json.loads(await answer.text())
            return found

    async def reload(self) -> int:
        """The status of a reload."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.admin}/admin/reload") as answer:
            return answer.status

    async def passed(self, *names: str, secs: float = 120) -> None:
        """Waits until these runners have passed all packs."""
        async with asyncio.timeout(secs):
            while any(one["lag_packs"] for one in (await self.stat())["plugins"] if one["name"] in names):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def growth(self) -> float:
        """Largest memory of the last quarter, as a share of the largest of the second one."""
        quarter = max(len(self.rss) // 4, 1)
        return max(self.rss[-quarter:]) / max(self.rss[quarter : 2 * quarter] or self.rss)


@asynccontextmanager
async def watched(folder: Path, tables: str, journal: str = "") -> AsyncIterator[Watched]:
    """The daemon of a config, started; stopped with status 0 at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    port, admin = free_port(), free_port()
    config = folder / "dpiped.toml"
    config.write_text(ENGINE.format(folder=folder, port=port, admin=admin) + tables + journal)
    process = Process("dpiped", config)
    one = Watched(process, config, f"http://127.0.0.1:{port}/ingest/rs/app", f"http://127.0.0.1:{admin}")
    await process.start()
    watcher: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    await one.stat()
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        watcher = asyncio.create_task(one.watch())
        yield one
        watcher.cancel()
        status = await process.end(signal.SIGTERM)
        assert status == 0, process.text()
    finally:
        if watcher is not None:
            watcher.cancel()
        if process.process is not None and process.process.returncode is None:
            process.process.kill()
            await process.process.wait()

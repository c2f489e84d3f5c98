"""Processes under measurement: started on a config, their CPU and memory read from the kernel."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

READY_SECS = 30.0
IDLE_SECS = 120.0


class Measured:
    """One `dpiped` or collector process."""

    def __init__(self, module: str, config: str, folder: Path) -> None:
        self._module = module
        self._file = folder / f"{module}.toml"
        self._file.write_text(config, encoding="utf-8")
        self._log = folder / f"{module}.log"
        self.process: asyncio.subprocess.Process
        self.peak_bytes = 0

    async def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, "run", "-c", str(self._file), stdout=log, stderr=log
            )
        self._ps = psutil.Process(self.process.pid)

    def cpu_secs(self) -> float:
        times = self._ps.cpu_times()
        self.peak_bytes = max(self.peak_bytes, self._ps.memory_info().rss)
        return times.user + times.system

    async def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Asks in a thread, for `is_so` may block; raises RuntimeError when it ended or the time is over."""
        deadline = time.monotonic() + READY_SECS
        while not await asyncio.to_thread(is_so):
            if time.monotonic() > deadline or self.process.returncode is not None:
                raise self.fail(f"waited in vain: {what}")
            await asyncio.sleep(0.1)

    def fail(self, text: str) -> RuntimeError:
        return RuntimeError(f"{text}; end of its log:\n{self._log.read_text('utf-8', 'replace')[-2000:]}")

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self.process.wait(), 30)


class MeasuredDaemon(Measured):
    """A daemon with its admin address."""

    def __init__(self, config: str, folder: Path, admin: int) -> None:
        head = f'[engine]\nadmin = "127.0.0.1:{admin}"\ndata_dir = "{folder}/dpiped"\n[[project]]\nname = "rs"\n'
        super().__init__("dpiped", head + config, folder)
        self._url = f"http://127.0.0.1:{admin}"

    def add(self, tables: str) -> None:
        """A reload with more tables."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(tables)
        request = urllib.request.Request(f"{self._url}/admin/reload", method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def stat(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._url}/admin/stat", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    async def ready(self) -> None:
        """Returns when it answers and its plugins are open: what libraries take to be loaded is no cost of events."""
        await self.wait_until(self._is_open, "the daemon gets ready")

    def _is_open(self) -> bool:
        try:
            return not any(plugin.get("status") == "starting" for plugin in self.stat()["plugins"])
        except OSError:
            return False

    async def idle(self, events: int) -> dict[str, Any]:
        """Waits until so many events came in and every runner has passed them."""
        deadline = time.monotonic() + IDLE_SECS
        while True:
            stat = await asyncio.to_thread(self.stat)
            came = sum(plugin.get("events", 0) for plugin in stat["plugins"] if plugin["kind"] == "input")
            behind = [plugin["name"] for plugin in stat["plugins"] if plugin.get("lag_packs")]
            if came >= events and not behind:
                return stat
            if time.monotonic() > deadline:
                raise self.fail(f"{came} of {events} events came in, behind: {behind}")
            await asyncio.sleep(0.1)


class MeasuredCollector(Measured):
    """A collector with its status address."""

    def __init__(self, config: str, folder: Path, status: int) -> None:
        super().__init__("collector", config, folder)
        self._url = f"http://127.0.0.1:{status}/healthz"

    async def ready(self) -> None:
        """Returns when it answers."""
        await self.wait_until(self._answers, "the collector gets ready")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self._url, timeout=10).close()
        except OSError:
            return False
        return True


async def load(*arguments: object) -> dict[str, Any]:
    """Runs the other side and returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"load {arguments[0]} ended with status {process.returncode}")
    found: dict[str, Any] = json.loads(out) if out.strip() else {}
    return found

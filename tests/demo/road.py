"""The processes of the demonstration: a daemon with a disk journal, and a collector."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp

from tests.demo.view import Snapshot, read_answers

DAEMON = """
[engine]
admin = "127.0.0.1:{admin}"
data_dir = "{folder}/dpiped"

[[project]]
name = "game"

[[input]]
type = "http"
name = "collectors"
listen = "127.0.0.1:{ingest}"

[[filter]]
type = "aggregate"
name = "traffic"
match = ["game.**"]
ident = "stats.traffic"
window_secs = 60
slide_secs = 2
lateness_secs = 1
group_by = ["_area"]
[filter.metrics]
events = {{ op = "count" }}

[[output]]
type = "file"
name = "archive"
path = "{folder}/out/{{ident}}.ndjson"

[[output]]
type = "file"
name = "answers"
match = ["stats.**"]
path = "{folder}/answers.ndjson"

[[output]]
type = "discard"
name = "errors_only"
where = "severity == 'err'"
"""
COLLECTOR = """
[collector]
data_dir = "{folder}/collector"
endpoints = ["http://127.0.0.1:{ingest}"]
status = "127.0.0.1:0"

[[input]]
type = "tail"
name = "game"
paths = ["{folder}/logs/game.log"]
project = "game"
ident = "game.play"
codec = "als"

[[input]]
type = "tail"
name = "messages"
paths = ["{folder}/logs/messages.log"]
project = "game"
ident = "sys.messages"
codec = "syslog"
"""
START_SECS = 20.0


class Road:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {"admin": free_port(), "ingest": free_port()}
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Returns when both run. Raises RuntimeError with the end of the log when one ends."""
        for name, text in (("dpiped", DAEMON), ("collector", COLLECTOR)):
            file = self._folder / f"{name}.toml"
            file.write_text(text.format(folder=self._folder, **self._ports), encoding="utf-8")
            log = (self._folder / f"{name}.log").open("wb")
            module = "dpiped" if name == "dpiped" else "collector"
            with log:
                self._processes[name] = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", module, "run", "-c", str(file), stdout=log, stderr=log
                )
            if name == "dpiped":
                await self._ready(session)

    async def _ready(self, session: aiohttp.ClientSession) -> None:
        deadline = time.monotonic() + START_SECS
        while True:
            self.check_alive()
            try:
                async with session.get(f"http://127.0.0.1:{self._ports['admin']}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # not listening yet
            if time.monotonic() > deadline:
                raise RuntimeError("the daemon does not get ready")
            await asyncio.sleep(0.1)

    def check_alive(self) -> None:
        """Raises RuntimeError when a process has ended."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                log = (self._folder / f"{name}.log").read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{name} ended with status {process.returncode}:\n{log}")

    async def snapshot(self, session: aiohttp.ClientSession) -> Snapshot:
        """What the daemon says of itself, and what the outputs have written."""
        async with session.get(f"http://127.0.0.1:{self._ports['admin']}/admin/stat") as answer:
            stat = await answer.json()
        return Snapshot(stat, count_lines(self._folder / "out"), read_answers(self._folder / "answers.ndjson"))

    async def stop(self) -> None:
        """Collector first, so that it finishes its batch."""
        for process in reversed(self._processes.values()):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(process.wait(), 15)
                except TimeoutError:
                    process.kill()


_counted: dict[Path, tuple[int, int]] = {}


def count_lines(folder: Path) -> int:
    """Lines in all files of a folder; only what is new is read."""
    for file in folder.glob("*.ndjson"):
        at, lines = _counted.get(file, (0, 0))
        with file.open("rb") as handle:
            handle.seek(at)
            while data := handle.read(1 << 20):
                at += len(data)
                lines += data.count(b"\n")
        _counted[file] = (at, lines)
    return sum(lines for file, (_, lines) in _counted.items() if file.parent == folder)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

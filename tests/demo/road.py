"""The processes of the demonstration: a daemon with a disk journal, and a collector."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.demo.view import Snapshot
from tests.mailbox import Mailbox

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
match = ["game.play"]
window_secs = 60
slide_secs = 2
lateness_secs = 1
group_by = ["_area"]
[filter.metrics]
events = {{ op = "count" }}
latency = {{ op = "quantiles", field = "_log_info.elapsed", q = [0.5, 0.95] }}

[[filter]]
type = "aggregate"
name = "users"
match = ["game.play"]
window = "day"
metrics = {{ users = {{ op = "cardinality", field = "_log_info.uid" }} }}

[[filter]]
type = "aggregate"
name = "pages"
match = ["game.web"]
window_secs = 60
slide_secs = 5
lateness_secs = 1
metrics = {{ pages = {{ op = "topn", field = "uri", n = 5 }} }}

[[filter]]
type = "alarm"
name = "payments"
match = ["sys.messages"]
where = "message ~ '^payment .* failed'"
group_by = ["host"]
window_secs = 10
slide_secs = 1
when = "count >= 20"
title = "{{count}} payments failed on {{host}} within 10 s"
severity = 50
throttle_secs = 60

[[output]]
type = "file"
name = "archive"
path = "{folder}/out/{{ident}}.ndjson"

[[output]]
type = "mail"
match = ["alarm.**"]
to = ["ops@game.example"]
sender = "dpipe@game.example"
server = "127.0.0.1:{smtp}"
security = "none"
min_gap_secs = 0

[[output]]
type = "discard"
name = "answers"
match = ["traffic", "users", "pages"]
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
    def __init__(self, folder: Path, mailbox: Mailbox) -> None:
        self._folder = folder
        self._mailbox = mailbox
        self._ports = {"admin": free_port(), "ingest": free_port(), "smtp": mailbox.port}
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

    @property
    def web(self) -> str:
        """Where the game's web pages POST their events."""
        return f"http://127.0.0.1:{self._ports['ingest']}/ingest/game/game.web"

    async def snapshot(self, session: aiohttp.ClientSession) -> Snapshot:
        """What the outputs have written, and what the daemon says of itself afterwards: it has collected no less."""
        delivered = count_lines(self._folder / "out")
        stat = await self._ask(session, "/admin/stat")
        answers = {
            name: (await self._ask(session, f"/api/aggregates/{name}?window={which}")).get("answers", [])
            for name, which in (("traffic", "last"), ("users", "current"), ("pages", "last"))
        }
        alarms = (await self._ask(session, "/api/alarms")).get("alarms", [])
        return Snapshot(stat, delivered, answers, alarms, list(self._mailbox.mails))

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
        async with session.get(f"http://127.0.0.1:{self._ports['admin']}{path}") as answer:
            found: dict[str, Any] = await answer.json()
            return found

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

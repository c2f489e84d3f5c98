"""The road under test: a collector, a daemon at the edge with filters and outputs of every kind, a central daemon."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Literal

from dpiped.crashpoint import VARIABLE
from tests.crash.load import AlsSender, Sender, Source, Writer
from tests.demo.road import free_port
from tests.faults.power import Disk

ENGINE = """
[engine]
admin = "127.0.0.1:0"
data_dir = "{folder}/{name}"
tick_secs = 0.1
snapshot_interval_secs = 0.2
drain_timeout_secs = 40
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:{port}"
keep_old = true
"""
EDGE = """
[journal]
{journal}
[[input]]
type = "tail"
paths = ["{folder}/own/*.log*"]
read_from = "start"
codec = "json"
ident = "app.own"

[[filter]]
type = "aggregate"
name = "traffic"
match = ["app.**"]
ident = "stats.traffic"
window_secs = 10
slide_secs = 5
lateness_secs = 2
idle_secs = 1
max_ahead_secs = 1e9
group_by = ["area"]
emit_every_secs = 0.5
errors = true
[filter.metrics]
hits = {{ op = "count" }}
ids = {{ op = "cardinality", field = "id" }}
top = {{ op = "topn", field = "id", n = 3 }}
times = {{ op = "quantiles", field = "@timestamp" }}
newest = {{ op = "last", field = "id" }}

[[filter]]
type = "relabel"
name = "copy"
match = ["app.**"]
rules = [{{ where = "area == 'us'", ident = "copy.us" }}]

[[filter]]
type = "aggregate"
name = "copies"
match = ["copy.**"]
ident = "stats.copies"
window_secs = 7
lateness_secs = 2
idle_secs = 1
max_ahead_secs = 1e9
metrics = {{ hits = {{ op = "count" }} }}

[[filter]]
type = "transform"
name = "changed"
match = ["app.**"]
prefix = "clean"
mark = "_failed"
[[filter.steps]]
do = "normalise"
field = "id"
rules = ["digits"]
[[filter.steps]]
do = "rename"
fields = {{ area = "place.area" }}
where = "area == 'us'"

[[filter]]
type = "sample"
name = "some"
match = ["app.**"]
rate = 3
by = ["area", "id"]

[[filter]]
type = "dedupe"
name = "seen"
match = ["clean.**"]
ident = "stats.seen"
fields = ["area", "place.area", "id_norm"]
window_secs = 3
lateness_secs = 1
max_ahead_secs = 1e9
max_keys = 4
count = true

[[filter]]
type = "alarm"
name = "busy"
match = ["app.**"]
window_secs = 10
slide_secs = 5
lateness_secs = 2
idle_secs = 1
max_ahead_secs = 1e9
group_by = ["area"]
when = "count >= 30"
change = 0.3
base = 20
silence_secs = 0.4
new = "id"
max_values = 300
throttle_secs = 0.5
resolve_after_secs = 0.5

[[output]]
type = "file"
name = "archive"
match = ["app.**", "copy.**", "stats.**", "alarm.**"]
path = "{folder}/archive/{{ident}}.ndjson"
metadata = false

[[output]]
type = "file"
name = "packed"
match = ["app.**"]
path = "{folder}/packed/{{ident}}.ndjson.gz"
compression = "gzip"

[[output]]
type = "behavior"
name = "sky"
match = ["app.**"]
table = "sky"
uid = "area"
action = "id"
keep_days = 36500

[[output]]
type = "leveldb"
name = "keyed"
match = ["app.**"]
path = "{folder}/keyed"
key = "{{_id}}"
metadata = false

[[output]]
type = "dpipe"
name = "chain"
match = ["app.**", "copy.**", "stats.**", "alarm.**"]
endpoints = ["http://127.0.0.1:{centre}"]
retry = {{ max_secs = 0.5 }}

[[output]]
type = "file"
name = "holder"
match = ["app.log"]
path = "{folder}/held/{{ident}}.ndjson"
disabled = {holds}
"""
CENTRE = """
[[output]]
type = "file"
name = "centre"
path = "{folder}/centre/{{ident}}.ndjson"
metadata = false
"""
COLLECTOR = """
[collector]
data_dir = "{folder}/collector"
endpoints = ["http://127.0.0.1:{port}"]
status = "127.0.0.1:0"
batch_secs = 0.1
[[input]]
type = "tail"
paths = ["{folder}/logs/*.log*"]
read_from = "start"
codec = "json"
project = "rs"
ident = "app.log"
"""
Journal = Literal["kept", "freed", "held"]
"""kept: all of it stays, so that it can be replayed; freed: it is small, segments are unlinked all the time; held: one
output holds what it wants, so that they are rewritten.
"""
OPTIONS: dict[Journal, str] = {
    "kept": 'max_bytes = "1GiB"\nkeep_bytes = "1GiB"',
    "freed": 'max_bytes = "2MiB"',
    "held": 'max_bytes = "2MiB"',
}


FILLING_BYTES = 400
"""Per event of the senders, so that small journals fill."""


class Process:
    """A daemon or collector that is killed and started again."""

    def __init__(self, module: str, config: Path) -> None:
        self.name = config.stem
        self._module, self._config = module, config
        self.log = config.with_suffix(".log")
        self.process: asyncio.subprocess.Process | None = None
        self.disk: Disk | None = None
        """Where a power failure shall be possible."""

    async def start(self, crash: str = "") -> None:
        environ = {**os.environ, VARIABLE: crash}
        if self.disk is not None:
            self.disk.begin()
            environ |= self.disk.environ
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, "run", "-c", str(self._config), stdout=log, stderr=log, env=environ
            )

    async def ended(self, secs: float) -> int | None:
        """The exit status; None if it still runs after so long."""
        assert self.process is not None
        try:
            return await asyncio.wait_for(self.process.wait(), secs)
        except TimeoutError:
            return None

    async def end(self, number: int) -> int:
        """Sends the signal and waits for the end; the exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        status = await self.ended(60)
        assert status is not None, f"{self.name} does not end:\n{self.text()}"
        return status

    async def lose_power(self, chance: random.Random) -> None:
        """Its machine goes off: what was not synced may be gone. What its sources have written stays."""
        assert self.disk is not None
        await self.end(signal.SIGKILL)
        self.disk.fail(chance)

    def text(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-3000:]


class Road:
    """All processes and sources."""

    def __init__(self, folder: Path, chance: random.Random, journal: Journal = "kept") -> None:
        self.folder, self.journal = folder, journal
        self._ports = {"port": free_port(), "centre": free_port()}
        self.edge = Process("dpiped", folder / "edge.toml")
        self.centre = Process("dpiped", folder / "central.toml")
        self.collector = Process("collector", folder / "collect.toml")
        self._write_configs(holds=journal == "held")
        url = f"http://127.0.0.1:{self._ports['port']}/ingest/rs/app.s"
        self.sources: list[Source] = [Sender("s0", f"{url}0", chance), AlsSender("s1", f"{url}1", chance)]
        if journal != "kept":
            for source in self.sources:
                source.filling = FILLING_BYTES
        self.log = Writer("log", folder / "logs" / "a.log", chance)
        self.sources += [self.log, Writer("own", folder / "own" / "a.log", chance)]
        self._tasks: list[asyncio.Task[None]] = []

    def can_lose_power(self) -> None:
        """From the next starts on."""
        stores = {
            self.edge: ("edge", "archive", "packed", "keyed", "held"),
            self.centre: ("central", "centre"),
            self.collector: ("collector",),
        }
        for process, names in stores.items():
            process.disk = Disk(self.folder, process.name, [self.folder / name for name in names])

    @property
    def processes(self) -> list[Process]:
        return [self.edge, self.centre, self.collector]

    @property
    def expected(self) -> int:
        return sum(source.sent.total() for source in self.sources)

    def _write_configs(self, *, holds: bool) -> None:
        folder, journal = self.folder, OPTIONS[self.journal]
        edge = ENGINE.format(folder=folder, name="edge", port=self._ports["port"]) + EDGE.format(
            folder=folder, journal=journal, centre=self._ports["centre"], holds=str(holds).lower()
        )
        centre = ENGINE.format(folder=folder, name="central", port=self._ports["centre"])
        (folder / "edge.toml").write_text(edge)
        (folder / "central.toml").write_text(centre + CENTRE.format(folder=folder))
        (folder / "collect.toml").write_text(COLLECTOR.format(folder=folder, port=self._ports["port"]))

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(source.run()) for source in self.sources]
        for process in self.processes:
            await process.start()

    async def finish(self) -> None:
        """Sources end, everything is delivered, all processes are stopped in order."""
        for source in self.sources:
            source.stop.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 60)
        if self.journal == "held":  # what was held is delivered now
            await self.edge.end(signal.SIGTERM)
            self._write_configs(holds=False)
            await self.edge.start()
        await self._wait_for("archive", self.expected)
        await self._wait_for("centre", self.expected)
        await self._wait_for("held", self.log.sent.total())
        for process in (self.collector, self.edge, self.centre):
            status = await process.end(signal.SIGTERM)
            assert status == 0, f"{process.name} ended with {status}:\n{process.text()}"

    async def _wait_for(self, name: str, amount: int) -> None:
        """Until so many events of the sources are in the files of an output; the oracle tells which."""
        try:
            async with asyncio.timeout(90):
                while await asyncio.to_thread(_lines, self.folder / name) < amount:  # noqa: ASYNC110 - files
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pass  # the oracle says what is missing

    async def kill_all(self) -> None:
        """In any case at the end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self.processes:
            if process.process is not None and process.process.returncode is None:
                process.process.kill()
                await process.process.wait()


def _lines(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("app.*.ndjson"))

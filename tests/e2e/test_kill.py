"""`kill -9` at random moments: what was acknowledged is in the file once, and emissions equal those of a replay."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dpiped.config.load import load_daemon_config
from dpiped.journal.disk import DiskStorage
from dpiped.pack import Pack
from dpiped.plugin import PluginContext
from dpiped.projection import Projection
from dpiped.telemetry import Telemetry
from dpiped.testing import events_in, until
from dpiped.view import PackView
from dpiped.windows import WindowPolicy

KILLS = 10
AT = 1_700_000_000_000
CONFIG = """
[engine]
admin = "127.0.0.1:{admin}"
data_dir = "{folder}/data"
tick_secs = 0.1
snapshot_interval_secs = 0.2
drain_timeout_secs = 20
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:{port}"
[[filter]]
type = "aggregate"
name = "traffic"
ident = "stats.traffic"
window_secs = 10
slide_secs = 5
lateness_secs = 2
idle_secs = 100000
max_ahead_secs = 1e9
group_by = ["area"]
[filter.metrics]
hits = {{ op = "count" }}
[[output]]
type = "file"
name = "archive"
path = "{folder}/out/{{ident}}.ndjson"
[[output]]
type = "file"
name = "packed"
path = "{folder}/packed/{{ident}}.ndjson.gz"
compression = "gzip"
[[output]]
type = "file"
name = "stats"
match = ["stats.**"]
path = "{folder}/out/stats.ndjson"
metadata = false
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class Daemon:
    """The daemon as a process that is killed and started again."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config, self._log = config, log
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "dpiped", "run", "-c", str(self._config), stdout=log, stderr=log
            )

    async def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 40)


class Sender:
    """Sends batches of one stream, each again until it is answered for good, as a collector does."""

    def __init__(self, name: str, url: str, chance: random.Random) -> None:
        self.name, self._url, self._chance = name, url, chance
        self.acknowledged: list[str] = []
        self.repeats = 0
        self._time = AT
        self.stop = asyncio.Event()

    async def run(self) -> None:
        seq = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while not self.stop.is_set():
                seq += 1
                ids = [f"{self.name}-{seq}-{n}" for n in range(self._chance.randrange(1, 40))]
                await self._deliver(session, seq, b"".join(map(self._event, ids)))
                self.acknowledged += ids

    def _event(self, name: str) -> bytes:
        self._time += self._chance.randrange(200)
        area = self._chance.choice(("us", "de", "fr"))
        late = self._chance.randrange(20) == 0
        event = {"@timestamp": self._time - (15_000 if late else 0), "id": name, "area": area}
        return json.dumps(event).encode() + b"\n"

    async def _deliver(self, session: aiohttp.ClientSession, seq: int, body: bytes) -> None:
        headers = {"X-Dpipe-Batch": f"{self.name}/{seq}/n{seq}"}
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


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    seed = int(os.environ.get("DPIPE_KILL_SEED", random.randrange(10**6)))
    print("DPIPE_KILL_SEED =", seed)
    chance, port = random.Random(seed), free_port()
    config = tmp_path / "dpiped.toml"
    config.write_text(CONFIG.format(folder=tmp_path, port=port, admin=free_port()))
    daemon = Daemon(config, tmp_path / "log")
    senders = [Sender(f"s{n}", f"http://127.0.0.1:{port}/ingest/rs/app{n}", chance) for n in range(3)]
    tasks = [asyncio.create_task(sender.run()) for sender in senders]
    await daemon.start()
    for _ in range(KILLS):
        await asyncio.sleep(0.3 + chance.random() * 1.5)
        await daemon.end(signal.SIGKILL)
        await daemon.start()
    for sender in senders:
        sender.stop.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    stored = [tmp_path / "out" / f"app{n}.ndjson" for n in range(3)]
    sent = Counter(name for sender in senders for name in sender.acknowledged)
    assert len(sent) > 100
    await until(lambda: sum(path.read_bytes().count(b"\n") for path in stored if path.exists()) >= len(sent), 60)
    assert await daemon.end(signal.SIGTERM) == 0, (tmp_path / "log").read_text()[-2000:]

    assert Counter(event["id"] for event in events_in(stored)) == sent
    assert packed_ids(tmp_path / "packed") == sent
    emitted = (tmp_path / "out" / "stats.ndjson").read_bytes()
    print("events", len(sent), "repeats", sum(sender.repeats for sender in senders), "emitted", emitted.count(b"\n"))
    assert emitted.count(b"\n") > 3
    assert emitted == replay(tmp_path)


def packed_ids(folder: Path) -> Counter[str]:
    whole = b"".join(gzip.decompress(path.read_bytes()) for path in folder.iterdir())
    return Counter(json.loads(line)["id"] for line in whole.splitlines())


def replay(folder: Path) -> bytes:
    """What a fresh filter makes of the packs of the journal, in their order."""
    table = load_daemon_config(folder / "dpiped.toml").filters[0]
    policy = WindowPolicy(lateness_ms=2_000, idle_ms=100_000_000, max_ahead_ms=10**12, tick_ms=100)
    plugin: Any = table.plugin_class(table.config, PluginContext(name="traffic", telemetry=Telemetry(), window=policy))
    storage = DiskStorage(folder / "data" / "journal")
    storage.open()
    frames, _ = storage.read(0, lambda route: not route.emitted, 1 << 40)
    assert frames[0].head.offset == 0, "the journal was freed: make the test smaller"
    out: list[bytes] = []
    for frame in frames:
        if frame.head.ident == "_dpipe.tick":
            out += [draft.body for draft in plugin.tick(frame.head.accepted_ms)]
        elif not frame.head.ident.startswith("_dpipe."):
            pack = Pack()
            pack.fill(frame.head, frame.body, None)
            out += [draft.body for draft in plugin.process(PackView(pack, Projection.of(["area"])))]
    return b"".join(out)

"""Disks that are full, fail, write short or are slow, at any write of the real processes: they answer 503, wait, and go
on by themselves; what was acknowledged is in the files once, and no process ends.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dpiped.testing import until
from tests.faults.shim import Shim

from .conftest import Collector, Daemon, Program, events_in, free_port, started, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SECS = float(os.environ.get("DPIPE_FAULT_SECS", "10"))
PARTS = (
    "/dpiped/journal/",
    "/dpiped/state/",
    "/dpiped/deadletter/",
    "/dpiped/",
    "/out/",
    "/packed/",
    "/project.log",
    "/collector/checkpoint",
    "/collector/spool/",
)
CALLS = ("w", "s", "t", "r", "o", "wstro")
ACTIONS = ("ENOSPC", "EIO", "TORN", "SHORT", "SLOW")
TABLES = """
[[filter]]
type = "aggregate"
name = "traffic"
ident = "stats.traffic"
match = ["app0", "app1"]
window_secs = 2
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
path = "{folder}/stats.ndjson"
"""
INPUTS = """
[[input]]
type = "tail"
paths = ["{folder}/logs/*.log"]
project = "rs"
ident = "tailed"
[[input]]
type = "syslog"
name = "sys"
listen = "127.0.0.1:{port}"
transport = "tcp"
project = "rs"
ident = "sys"
"""


class Sender:
    """Posts batches of one stream, each again until it is answered 200; some hold a line that is no JSON."""

    def __init__(self, name: str, url: str, chance: random.Random) -> None:
        self.name, self._url, self._chance = name, url, chance
        self.acked: list[str] = []
        self.rejected = 0
        self.refused = 0
        self.stop = asyncio.Event()

    async def run(self) -> None:
        seq = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            while not self.stop.is_set():
                seq += 1
                ids = [f"{self.name}-{seq}-{n}" for n in range(self._chance.randrange(1, 30))]
                bad = self._chance.random() < 0.2
                lines = [json.dumps({"id": one}) for one in ids] + ["no json"] * bad
                await self._deliver(session, seq, "\n".join(lines).encode())
                self.acked += ids
                self.rejected += bad
                await asyncio.sleep(0.01)

    async def _deliver(self, session: aiohttp.ClientSession, seq: int, body: bytes) -> None:
        while True:
            headers = {"X-Dpipe-Batch": f"{self.name}/{seq}/n{seq}"}
            async with session.post(self._url, data=body, headers=headers) as answer:
                said = await answer.text()
                assert answer.status in (200, 503), said
                if answer.status == 200:
                    return
                self.refused += 1
            await asyncio.sleep(0.1)


class Logger:
    """Writes lines to a file that is tailed, and to the syslog input of the collector."""

    def __init__(self, folder: Path, port: int) -> None:
        self._file = folder / "logs" / "a.log"
        self._file.parent.mkdir()
        self._port = port
        self.tailed: list[str] = []
        self.sent: list[str] = []
        self.stop = asyncio.Event()

    async def run(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        number = 0
        while not self.stop.is_set():
            number += 1
            with self._file.open("a") as file:
                file.write(f"tailed-{number}\n")
            self.tailed.append(f"tailed-{number}")
            writer.write(f"<13>1 2026-11-22T01:02:03Z h app - - - sys-{number}\n".encode())
            await writer.drain()
            self.sent.append(f"sys-{number}")
            await asyncio.sleep(0.005)
        writer.close()
        await writer.wait_closed()


async def trouble(shim: Shim, chance: random.Random, secs: float) -> None:
    """Faults come and go."""
    end = asyncio.get_running_loop().time() + secs
    while asyncio.get_running_loop().time() < end:
        rules = [
            f"{chance.choice(CALLS)} {chance.choice(ACTIONS)} {chance.choice((30, 100))} {chance.choice(PARTS)}"
            for _ in range(chance.randrange(1, 4))
        ]
        shim.set(*rules)
        await asyncio.sleep(chance.uniform(0.2, 1.2))
        shim.set()
        await asyncio.sleep(chance.uniform(0.1, 0.6))


def packed(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.gz")):
        yield from map(json.loads, gzip.decompress(path.read_bytes()).splitlines())


def names(events: Any) -> Counter[str]:
    return Counter(event.get("id") or event["message"] for event in events)


def without_traceback(*some: Program) -> None:
    for program in some:
        assert "Traceback" not in program.text(), program.text()[-6000:]


async def test_whatever_the_disk_does_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, programs: list[Program]
) -> None:
    seed = int(os.environ.get("DPIPE_FAULT_SEED", random.randrange(10**6)))
    print("DPIPE_FAULT_SEED =", seed)
    chance, port = random.Random(seed), free_port()
    shim = Shim(tmp_path, tmp_path)
    tables = TABLES.format(folder=tmp_path)
    logfile = f'logfile = "{tmp_path}/project.log"\n'
    daemon = Daemon(tmp_path, tables, project=logfile, environ=shim.environ)
    inputs = INPUTS.format(folder=tmp_path, port=port)
    collector = Collector(tmp_path, [daemon.url], inputs, "batch_secs = 0.05\n", environ=shim.environ)
    for program in (daemon, collector):
        started(programs, program)
    wait_until(lambda: "collector started" in collector.text(), "the collector starts")
    senders = [Sender(f"s{n}", f"{daemon.url}/ingest/rs/app{n}", chance) for n in range(2)]
    logger = Logger(tmp_path, port)
    tasks = [asyncio.create_task(one.run()) for one in (*senders, logger)]
    await trouble(shim, chance, SECS)
    for one in (*senders, logger):
        one.stop.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    expected = Counter([name for sender in senders for name in sender.acked] + logger.tailed + logger.sent)

    def whole() -> bool:
        assert daemon.running, daemon.text()[-3000:]
        assert collector.running, collector.text()[-3000:]
        return sum(file.read_bytes().count(b"\n") for file in (tmp_path / "out").glob("*")) >= len(expected)

    await until(whole, 60)
    assert await asyncio.to_thread(collector.stop) == 0, collector.text()[-3000:]
    letters = daemon.stat()["deadletters"]["count"]
    assert await asyncio.to_thread(daemon.stop) == 0, daemon.text()[-3000:]
    print("acked", len(expected), "refused", sum(sender.refused for sender in senders), "letters", letters)
    assert names(events_in(tmp_path / "out")) == expected
    assert names(packed(tmp_path / "packed")) == expected
    assert letters == sum(sender.rejected for sender in senders)
    without_traceback(daemon, collector)


@pytest.mark.parametrize("rule", ["wso ENOSPC 100 *", "wsor EIO 60 /dpiped/"])
def test_a_start_waits_for_the_disk(rule: str, tmp_path: Path, programs: list[Program]) -> None:
    shim = Shim(tmp_path, tmp_path)
    tables = f'[[output]]\ntype = "file"\npath = "{tmp_path}/out/a.ndjson"\n'
    daemon = Daemon(tmp_path, tables, environ=shim.environ)
    collector = Collector(
        tmp_path, [daemon.url], '[[input]]\ntype = "tail"\npaths = ["/nowhere/*"]\nident = "a"\n', environ=shim.environ
    )
    part = rule if "*" in rule else rule.replace("/dpiped/", "/collector/")
    shim.set(*dict.fromkeys((rule.replace("*", "/dpiped/"), part.replace("*", "/collector/"))))
    programs += [daemon, collector]
    Program.start(daemon)
    collector.start()
    for program in (daemon, collector):
        wait_until(lambda: "the start waits for the disk" in program.text() or not program.running, "it waits")  # noqa: B023
        assert program.running, program.text()
    shim.set()
    wait_until(daemon.ready, "the daemon starts by itself")
    wait_until(lambda: "collector started" in collector.text(), "the collector starts by itself")
    assert (collector.stop(), daemon.stop()) == (0, 0)
    without_traceback(daemon, collector)


def test_a_start_that_waits_can_be_stopped(tmp_path: Path, programs: list[Program]) -> None:
    shim = Shim(tmp_path, tmp_path)
    daemon = Daemon(tmp_path, '[[output]]\ntype = "discard"\n', environ=shim.environ)
    shim.set("wso ENOSPC 100 /dpiped/")
    programs.append(daemon)
    Program.start(daemon)
    wait_until(lambda: "the start waits for the disk" in daemon.text(), "it waits")
    assert daemon.stop() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB, where one can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount program")
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_503_and_got_over(small_disk: Path, tmp_path: Path, programs: list[Program]) -> None:
    """The output is held up, so the journal grows until the disk is full; then room is made."""
    blocked = tmp_path / "out"
    blocked.write_bytes(b"")
    tables = f'[[output]]\ntype = "file"\npath = "{blocked}/a.ndjson"\n[output.retry]\nmax_secs = 0.5\n'
    daemon = Daemon(small_disk, tables, journal="[journal]\nmin_free_bytes = 0\n")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (4 << 20))
    started(programs, daemon)
    acked, refused, number = [], 0, 0
    async with aiohttp.ClientSession() as session:
        while refused < 5:
            number += 1
            body = b"".join(
                b'{"id":"%d-%d","x":"%s"}\n' % (number, n, os.urandom(400).hex().encode()) for n in range(500)
            )
            headers = {"X-Dpipe-Batch": f"s/{number}/n"}
            async with session.post(f"{daemon.url}/ingest/rs/a", data=body, headers=headers) as answer:
                assert answer.status in (200, 503), await answer.text()
                if answer.status == 200:
                    acked += [f"{number}-{n}" for n in range(500)]
                else:
                    refused += 1
                    assert "No space" in await answer.text()
                    number -= 1
        ballast.unlink()
        blocked.unlink()
        await until(lambda: len(events_in(blocked)) >= len(acked), 60)
        await until(lambda: daemon.stat()["journal"]["failing"] == "", 60)
    assert daemon.stop() == 0, daemon.text()[-3000:]
    assert names(events_in(blocked)) == Counter(acked)
    assert len(acked) > 1_000
    without_traceback(daemon)

"""`./dev bench [NAME ..]`: medians of 3 runs of each row, and the bound it has to keep."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from rich.console import Console
from rich.table import Table

from dpiped.pack import count_lines
from tests.bench import accuracy, alarm_mail, data, elastic_real, funnel
from tests.bench.process import Measured, MeasuredCollector, MeasuredDaemon, load
from tests.bench.prototype import Prototype
from tests.bench.rows import ROWS, Row
from tests.demo.road import free_port
from tests.e2e.kafka_server import JARS

HALF_LOAD = 150_000
"""Events a second: about half of what one core takes."""
PLAIN_RUNS = 3
"""Before and after each run of a row: one alone can be off by a third on a machine that others share."""
PLAIN_EVENTS = 100_000
PAGES_OF_A_RUN, EVENT_BYTES = 4, 330
"""A run writes less than so many times its events: journal, output, database."""
LINES = {"json": data.json_lines, "als": data.als_lines, "syslog": data.syslog_lines}
OTHERS: dict[str, tuple[str, Callable[[], Awaitable[int]]]] = {
    "accuracy": ("what sketches answer against the truth", accuracy.main),
    "alarm-mail": ("from an event to the mail that tells of it", alarm_mail.main),
    "funnel": ("questions about 10 million actions of 200 thousand users", funnel.main),
    "elastic-real": ("to a real Elasticsearch, and what both take", elastic_real.main),
}
"""Benchmarks of their own kind: name -> what, and what to run."""


@dataclass(frozen=True)
class Told:
    """What the sender saw, where it gets an answer."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    per_sec: float = 0.0
    """Events."""


@dataclass(frozen=True)
class Result:
    ratio: float
    secs_per_million: float
    rss_bytes: int
    told: Told


async def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="rows; all of them by default; or one of the others that --list shows")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a bound is not kept")
    arguments = parser.parse_args()
    console = Console(width=150)
    unknown = set(arguments.names) - {*OTHERS, *(row.name for row in ROWS)}
    if unknown or arguments.list:
        for row in ROWS:
            console.print(f"{row.name:14} {row.about}")
        for name, (about, _) in OTHERS.items():
            console.print(f"{name:14} {about}")
        return 2 if unknown else 0
    if len(arguments.names) == 1 and arguments.names[0] in OTHERS:
        return await OTHERS[arguments.names[0]][1]()
    rows = [row for row in ROWS if not arguments.names or row.name in arguments.names]
    if not JARS and any(row.store == "kafka" for row in rows):
        console.print("DPIPE_KAFKA names no folder with the jars of a broker: rows that need one are left out")
        rows = [row for row in rows if row.store != "kafka"]
    table = Table("row", "what", "R", "at most", "CPU s per million", "RSS MiB", "p50 ms", "p99 ms", "events/s")
    with tempfile.TemporaryDirectory(prefix="dpipe-bench-") as folder:
        kept = await measure_rows(rows, Sources(Path(folder)), arguments.events, arguments.runs, table)
    console.print(table)
    return 0 if kept or not arguments.check else 1


async def measure_rows(rows: Sequence[Row], sources: Sources, events: int, runs: int, table: Table) -> bool:
    """Whether all bounds were kept."""
    kept = True
    for row in rows:
        results = [await measure(row, int(events * row.share), sources) for _ in range(runs)]
        ratio = median(result.ratio for result in results)
        good = row.bound is None or ratio <= row.bound
        kept = kept and good
        table.add_row(
            row.name,
            row.about,
            f"[{'green' if good else 'red'}]{ratio:.2f}",
            f"{row.bound or '-'}",
            f"{median(result.secs_per_million for result in results):.2f}",
            f"{max(result.rss_bytes for result in results) / 2**20:.0f}",
            *(
                f"{median(getattr(result.told, key) for result in results):,.0f}"
                for key in ("p50_ms", "p99_ms", "per_sec")
            ),
        )
    return kept


class Sources:
    """The events that runs get, written once each; below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lines(self, kind: str, amount: int) -> Path:
        """A file of so many lines of a kind of LINES."""
        path = self.folder / f"{kind}-{amount}.log"
        if not path.exists():
            data.write_lines(path, LINES[kind](amount))
        return path

    def packed(self, kind: str, amount: int) -> Path:
        """The same by gzip."""
        path = self.folder / f"{kind}-{amount}.gz"
        if not path.exists():
            path.write_bytes(gzip.compress(self.lines(kind, amount).read_bytes(), 6))
        return path


async def measure(row: Row, amount: int, sources: Sources) -> Result:
    """One run of a row in a fresh folder, with R measured before and after it."""
    source = (sources.packed if row.load == "archive" else sources.lines)(row.data, amount)
    plain = sources.lines("json", min(amount, PLAIN_EVENTS))
    with tempfile.TemporaryDirectory(prefix="run-", dir=sources.folder) as name:
        folder = Path(name)
        touch_page_cache(folder, PAGES_OF_A_RUN * EVENT_BYTES * amount)
        before = await plain_cost(plain)
        run = RUNS.get(row.load, measure_daemon)
        cpu_secs, rss_bytes, told = await run(row, folder, source, amount)
        if row.gzip_apart:
            cpu_secs -= float((await load("gzip", source))["cpu_secs"])
        reference = (before + await plain_cost(plain)) / 2
        per_million = cpu_secs / amount * 1e6
        return Result(per_million / reference, per_million, rss_bytes, told)


def touch_page_cache(folder: Path, size: int) -> None:
    """Writes a file of so many bytes and removes it: on a virtual machine whose free memory went back to the host, the
    first write to a page costs ten times the next ones (measured: 480 and 4,800 MiB/s), and none of that is ours.
    """
    block, path = bytes(1 << 20), folder / "touched"
    with path.open("wb", buffering=0) as file:
        for _ in range(0, size, len(block)):
            file.write(block)
    path.unlink()


async def plain_cost(file: Path) -> float:
    """R: CPU seconds per million events of a plain loop; the mean of PLAIN_RUNS runs."""
    lines = count_lines(file.read_bytes())
    runs = [float((await load("plain", file))["cpu_secs"]) for _ in range(PLAIN_RUNS)]
    return mean(runs) / lines * 1e6


async def measure_daemon(row: Row, folder: Path, source: Path, amount: int) -> tuple[float, int, Told]:
    port, admin, store = free_port(), free_port(), free_port()
    daemon = MeasuredDaemon(row.config.format(folder=folder, port=port, store=store), folder, admin)
    async with other_side(row.store, store):
        return await measure_running(row, daemon, folder, source, port, amount, store)


@asynccontextmanager
async def other_side(what: str, port: int) -> AsyncIterator[None]:
    """A store or sink in a process of its own; nothing if it has no name."""
    if not what:
        yield
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", what, str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the other side, {what}, does not start")
        yield
    finally:
        process.terminate()
        await process.wait()


async def measure_running(
    row: Row, daemon: MeasuredDaemon, folder: Path, source: Path, port: int, amount: int, store: int
) -> tuple[float, int, Told]:
    await daemon.start()
    try:
        await daemon.ready()
        before = daemon.cpu_secs()
        told = await send(row, daemon, folder, source, port, amount, store)
        await daemon.idle(amount)
        return daemon.cpu_secs() - before, daemon.peak_bytes, told
    finally:
        await daemon.stop()


async def send(
    row: Row, daemon: MeasuredDaemon, folder: Path, source: Path, port: int, amount: int, store: int
) -> Told:
    """Gives the load to the daemon."""
    if row.load == "archive":
        (folder / "load.gz").hardlink_to(source)
        await asyncio.to_thread(daemon.add, row.later.format(folder=folder))
        return Told()
    if row.load == "tail":
        (folder / "load.log").hardlink_to(source)
        return Told()
    if row.load == "produce":
        await load("produce", source, store)
        return Told()
    if row.load == "syslog":
        await load("syslog", source, "127.0.0.1", port, row.connections)
        return Told()
    url = f"http://127.0.0.1:{port}/ingest/rs/" + ("app.{n}" if row.idents > 1 else "app")
    if row.load == "latency":
        found = await load("latency", source, url, folder / "out" / "app.ndjson", HALF_LOAD, row.per_post)
        return Told(found["p50_ms"], found["p99_ms"])
    return await post(row, source, url, amount)


async def measure_collector(row: Row, folder: Path, source: Path, amount: int) -> tuple[float, int, Told]:
    port, admin = free_port(), free_port()
    collector = MeasuredCollector(row.config.format(folder=folder, port=port, admin=admin), folder, admin)
    async with other_side("sink", port):
        try:
            await collector.start()
            await collector.ready()
            before = collector.cpu_secs()
            (folder / "load.log").hardlink_to(source)
            await collected(collector, folder / "load.log")
            return collector.cpu_secs() - before, collector.peak_bytes, Told()
        finally:
            await collector.stop()


async def measure_prototype(row: Row, folder: Path, source: Path, amount: int) -> tuple[float, int, Told]:
    port = free_port()
    prototype = Prototype(folder, port, has_file=row.config == "file")
    try:
        await prototype.start()
        await prototype.ready()
        before = prototype.cpu_secs()
        told = await post(row, source, f"http://127.0.0.1:{port}/ingest/rs/app", amount)
        return prototype.cpu_secs() - before, prototype.peak_bytes, told
    finally:
        await prototype.stop()


RUNS = {"collector": measure_collector, "prototype": measure_prototype}
"""Loads that something else than a daemon gets."""


async def post(row: Row, source: Path, url: str, amount: int) -> Told:
    found = await load("post", source, url, row.connections, row.per_post, 0, row.idents)
    return Told(found["p50_ms"], found["p99_ms"], amount / found["secs"])


async def collected(collector: Measured, file: Path) -> None:
    """Waits until the collector's CPU stands still: it has sent everything."""
    last, quiet = -1.0, 0
    while quiet < 4:
        await asyncio.sleep(0.5)
        now = collector.cpu_secs()
        quiet = quiet + 1 if now - last < 0.02 else 0
        last = now
        if collector.process.returncode is not None:
            raise collector.fail("the collector ended")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

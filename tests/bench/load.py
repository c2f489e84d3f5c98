"""The other side of a benchmark, as a process of its own: HTTP clients, syslog senders, a sink for collectors.

python -m tests.bench.load post FILE URL CONNECTIONS PER_POST PER_SECOND IDENTS    prints the latencies as JSON
python -m tests.bench.load latency FILE URL OUT PER_SECOND PER_POST   prints p50 and p99 from POST to line
python -m tests.bench.load syslog FILE HOST PORT CONNECTIONS
python -m tests.bench.load sink PORT                             answers 200 to everything, counts bytes
python -m tests.bench.load elastic PORT                          answers `_bulk`: everything is stored
python -m tests.bench.load objects PORT                          answers as S3 does: every object is stored
python -m tests.bench.load gzip FILE                             compresses it by the MiB; prints CPU seconds
python -m tests.bench.load kafka PORT                            a real broker, if its jars are there
python -m tests.bench.load produce FILE PORT                     each line a message of the topic `in`
python -m tests.bench.load plain FILE                            R: reads and decodes each line; prints CPU seconds

Servers print "ready" when they are.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec
import zstandard
from aiohttp import web
from confluent_kafka import Producer

from tests.bench.data import blocks
from tests.e2e.kafka_server import Kafka


async def post(file: Path, url: str, connections: int, per_post: int, per_second: float, idents: int) -> None:
    """POSTs zstd NDJSON to `idents` idents in turn; `per_second` events a second, 0: as fast as it goes."""
    compressor = zstandard.ZstdCompressor(level=1)
    bodies = iter(
        [compressor.compress(block) for block in blocks(file.read_bytes().splitlines(keepends=True), per_post)]
    )
    latencies: list[float] = []
    started = time.perf_counter()

    async def client(session: aiohttp.ClientSession) -> None:
        for body in bodies:
            if per_second:
                due = started + len(latencies) * per_post / per_second
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            target = url.replace("{n}", str(len(latencies) % idents))
            async with session.post(target, data=body, headers={"Content-Encoding": "zstd"}) as answer:
                await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status} {await answer.text()}")
            latencies.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(connections)))
    latencies.sort()
    print(
        json.dumps(
            {
                "p50_ms": latencies[len(latencies) // 2] * 1000,
                "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
                "secs": time.perf_counter() - started,
            }
        )
    )


async def latency(file: Path, url: str, out: Path, per_second: float, per_post: int) -> None:
    """POSTs at a steady rate and watches the output file: the time from the POST to its first line in the file."""
    compressor = zstandard.ZstdCompressor(level=1)
    some = blocks(file.read_bytes().splitlines(keepends=True), per_post)
    sent: dict[int, float] = {}
    seen: list[float] = []

    async def send(session: aiohttp.ClientSession, number: int, block: bytes) -> None:
        body = compressor.compress(b'{"@timestamp":%d,"mark":%d}\n' % (time.time() * 1000, number) + block)
        sent[number] = time.perf_counter()
        async with session.post(url, data=body, headers={"Content-Encoding": "zstd"}) as answer:
            await answer.read()

    async def watch() -> None:
        at = 0
        while len(seen) < len(some):
            await asyncio.sleep(0.001)
            if not out.exists() or out.stat().st_size == at:
                continue
            now = time.perf_counter()
            with out.open("rb") as handle:
                handle.seek(at)
                data = handle.read()
            data = data[: data.rfind(b"\n") + 1]
            at += len(data)
            seen.extend(now - sent[int(mark)] for mark in re.findall(rb'"mark":(\d+)', data))

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        group.create_task(watch())
        started = time.perf_counter()
        for number, block in enumerate(some):
            await asyncio.sleep(max(0.0, started + number * per_post / per_second - time.perf_counter()))
            group.create_task(send(session, number, block))
    seen.sort()
    print(json.dumps({"p50_ms": seen[len(seen) // 2] * 1000, "p99_ms": seen[len(seen) * 99 // 100] * 1000}))


async def syslog(file: Path, host: str, port: int, connections: int) -> None:
    lines = iter(blocks(file.read_bytes().splitlines(keepends=True), 200 if connections < 100 else 10))

    async def sender(some: Iterator[bytes]) -> None:
        _, writer = await asyncio.open_connection(host, port)
        for block in some:
            writer.write(block)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(sender(lines) for _ in range(connections)))


async def serve(runner: web.BaseRunner, port: int) -> None:
    """Until the process is ended."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def elastic(port: int) -> None:
    """A store that takes everything, and answers `_bulk` with a status for each event."""

    async def take(request: web.Request) -> web.Response:
        lines = (await request.read()).count(b"\n")
        item = b'{"create":{"status":201}}'
        body = b'{"errors":false,"items":[' + b",".join([item] * (lines // 2)) + b"]}"
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", take)
    await serve(web.AppRunner(app, access_log=None), port)


async def objects(port: int) -> None:
    """A store that takes every object."""

    async def take(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.Response(headers={"ETag": '"etag"'})

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", take)
    await serve(web.AppRunner(app, access_log=None), port)


async def kafka(port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="dpipe-bench-kafka-") as folder:
        broker = Kafka(Path(folder), port)
        try:
            await asyncio.to_thread(broker.start)
            await asyncio.to_thread(broker.create, "in", "out")
            print("ready", flush=True)
            await asyncio.Event().wait()
        finally:
            broker.kill()


async def produce(file: Path, port: int) -> None:
    """Spread over the partitions, as messages without a key are."""
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "queue.buffering.max.messages": 0})
    for block in blocks(file.read_bytes().splitlines(keepends=True), 1_000):
        producer.produce_batch("in", [{"value": line} for line in block.splitlines()])
        producer.poll(0)
    producer.flush(60)


async def sink(port: int) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=b'{"accepted":1,"rejected":0,"errors":[]}', content_type="application/json")

    await serve(web.ServerRunner(web.Server(answer, access_log=None, auto_decompress=False)), port)


def plain(file: Path) -> None:
    decode = msgspec.json.Decoder().decode
    began = time.process_time()
    with file.open("rb") as lines:
        for line in lines:
            decode(line)
    print(json.dumps({"cpu_secs": time.process_time() - began}))


def gzip(file: Path) -> None:
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    with file.open("rb") as handle:
        began = time.process_time()
        while piece := handle.read(1 << 20):
            compressor.compress(piece)
        compressor.flush()
    print(json.dumps({"cpu_secs": time.process_time() - began}))


def main(arguments: list[str]) -> None:
    what, rest = arguments[0], arguments[1:]
    if what == "post":
        asyncio.run(post(Path(rest[0]), rest[1], int(rest[2]), int(rest[3]), float(rest[4]), int(rest[5])))
    elif what == "latency":
        asyncio.run(latency(Path(rest[0]), rest[1], Path(rest[2]), float(rest[3]), int(rest[4])))
    elif what == "syslog":
        asyncio.run(syslog(Path(rest[0]), rest[1], int(rest[2]), int(rest[3])))
    elif what == "sink":
        asyncio.run(sink(int(rest[0])))
    elif what == "elastic":
        asyncio.run(elastic(int(rest[0])))
    elif what == "gzip":
        gzip(Path(rest[0]))
    elif what == "objects":
        asyncio.run(objects(int(rest[0])))
    elif what == "kafka":
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the broker is ended, too
        with suppress(KeyboardInterrupt):
            asyncio.run(kafka(int(rest[0])))
    elif what == "produce":
        asyncio.run(produce(Path(rest[0]), int(rest[1])))
    else:
        plain(Path(rest[0]))


if __name__ == "__main__":
    main(sys.argv[1:])

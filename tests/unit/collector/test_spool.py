"""Inputs that cannot be read again: what was received survives a kill."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from collector.collector import Collector
from collector.config import CollectorConfig, Config, StdinInput, SyslogInput
from collector.receivers import StdinFeed
from collector.sender import Pauses
from dpiped.codecs.framing import fold
from dpiped.telemetry import Telemetry


def syslog_collector(folder, url, **options):
    settings = CollectorConfig(
        endpoints=(url,), batch_secs=0.01, status="127.0.0.1:0", data_dir=str(folder / "data"), drain_timeout_secs=0.2
    )
    source = SyslogInput(type="syslog", name="net", ident="rs.sys", listen="127.0.0.1:0", socket_mode="0600", **options)
    return Collector(Config(settings, (source,)), Telemetry(), pauses=lambda: Pauses(0.001, 0.005))


async def opened(kit, collector):
    await kit.eventually(lambda: bool(collector.status_address))
    return int(collector.feeds[0].status()["address"].rpartition(":")[2])


async def log(port, *lines):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(line + b"\n" for line in lines))
    writer.close()
    await writer.wait_closed()


async def received(kit, collector, waiting):
    await kit.eventually(lambda: collector.feeds[0].status()["waiting"] >= waiting)


async def test_syslog_arrives(kit):
    async with kit.Sink() as sink:
        collector = syslog_collector(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        await log(await opened(kit, collector), b"<13>one", b"<13>two")
        await sink.until(lambda: len(sink.lines) == 2)
        collector.stop()
        assert await task
    assert sink.lines == ["<13>one", "<13>two"]
    head = sink.frames[0].head
    assert (head.ident, head.codec, head.host) == ("rs.sys", "syslog", socket.gethostname())


@pytest.mark.parametrize(("codec", "line"), [("syslog", fold(b"<13>a\nb").decode()), ("raw", "<13>a#012b")])
async def test_line_breaks_inside_of_a_frame_travel_to_the_daemon(kit, codec, line):
    async with kit.Sink() as sink:
        collector = syslog_collector(kit.folder, sink.url, codec=codec)
        task = asyncio.create_task(collector.run())
        await log(await opened(kit, collector), b"7 <13>a\nb")
        await sink.until(lambda: len(sink.lines) == 1)
        collector.stop()
        assert await task
    assert sink.lines == [line]


async def test_spool_survives_a_kill(kit):
    async with kit.Sink(*[503] * 100_000) as sink:
        collector = syslog_collector(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        await log(await opened(kit, collector), b"<13>one")
        await received(kit, collector, 1)
        kit.kill(collector, task)
        await asyncio.wait([task])
        sink.actions.clear()
        again = syslog_collector(kit.folder, sink.url)
        task = asyncio.create_task(again.run())
        await log(await opened(kit, again), b"<13>two")
        await sink.until(lambda: len(sink.lines) >= 2)
        again.stop()
        await task
    assert sink.lines == ["<13>one", "<13>two"]


async def test_batch_of_the_spool_is_sent_again_as_it_was(kit):
    async with kit.Sink("kill stored") as sink:
        collector = syslog_collector(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        sink.on_kill = lambda: kit.kill(collector, task)
        await log(await opened(kit, collector), b"<13>one")
        await asyncio.wait([task])
        again = syslog_collector(kit.folder, sink.url)
        task = asyncio.create_task(again.run())
        await log(await opened(kit, again), b"<13>two")
        await sink.until(lambda: len(sink.lines) >= 2)
        again.stop()
        await task
    assert sink.lines == ["<13>one", "<13>two"]
    assert sink.requests[0] == sink.requests[1]


async def test_memory_spool_is_delivered_at_a_stop(kit):
    async with kit.Sink(503) as sink:
        collector = syslog_collector(kit.folder, sink.url, spool="memory")
        task = asyncio.create_task(collector.run())
        await log(await opened(kit, collector), b"<13>one")
        await received(kit, collector, 1)
        collector.stop()
        assert await task
    assert sink.lines == ["<13>one"]


@pytest.mark.parametrize("stored", [True, False])
async def test_stdin_ends_the_collector_when_all_is_acknowledged(kit, stored):
    reading, writing = os.pipe()
    os.write(writing, b"1\n2\n3")
    os.close(writing)
    async with kit.Sink(503, "lose") as sink:
        settings = CollectorConfig(endpoints=(sink.url,), status="127.0.0.1:0", data_dir=str(kit.folder / "data"))
        source = StdinInput(type="stdin", name="in", ident="rs.in", spool="disk" if stored else "memory")
        telemetry = Telemetry()
        spool = kit.folder / "data" / "spool" if stored else None
        collector = Collector(
            Config(settings, (source,)),
            telemetry,
            stored=stored,
            pauses=lambda: Pauses(0.001, 0.005),
            make_feeds=lambda checkpoint, host: [
                StdinFeed(source, spool, checkpoint, host, 1 << 20, telemetry, fd=reading)
            ],
        )
        async with asyncio.timeout(10):
            assert await collector.run()
    os.close(reading)
    assert sink.lines == ["1", "2", "3"]

"""The daemon's inputs `tail`, `syslog`, `stdin`, with an emit that remembers."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from dpiped.errors import FatalPluginError, TemporaryError
from dpiped.plugin import PluginContext, Receipt
from dpiped.sources import tail
from dpiped.telemetry import Telemetry
from plugins.inputs.stdin import StdinConfig, StdinInput
from plugins.inputs.syslog import SyslogConfig, SyslogInput
from plugins.inputs.tail import TailConfig, TailInput


class Emitted:
    """What an input handed over."""

    def __init__(self):
        self.data = b""
        self.calls = []
        self.position = None
        self.changed = asyncio.Event()

    async def __call__(self, data, **options):
        self.data += data
        self.calls.append(options)
        self.position = options.get("position", self.position)
        self.changed.set()
        return Receipt(data.count(b"\n"))

    async def until(self, data):
        async with asyncio.timeout(10):
            while self.data != data:
                self.changed.clear()
                await self.changed.wait()


def context(position=None):
    return PluginContext(name="in", telemetry=Telemetry(), start_position=position, codec=lambda name: name)


async def running(plugin, emit, condition):
    """Runs the input until the condition holds."""
    await plugin.open()
    task = asyncio.create_task(plugin.run(emit))
    try:
        await condition
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await plugin.close()


async def test_tail_goes_on_from_the_position_that_was_stored_with_the_data(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("1\n2\n")
    config = TailConfig(paths=(str(log),), host="web1")
    emit = Emitted()
    await running(TailInput(config, context()), emit, emit.until(b"1\n2\n"))
    assert (emit.calls[0]["source"], emit.calls[0]["host"]) == (str(log), "web1")
    with log.open("a") as file:
        file.write("3\n")
    again = Emitted()
    await running(TailInput(config, context(emit.position)), again, again.until(b"3\n"))


async def test_tail_from_the_end_counts_once_also_if_nothing_was_read(tmp_path):
    config = TailConfig(paths=(f"{tmp_path}/*.log",), read_from="end")
    first = Emitted()
    await running(TailInput(config, context()), first, first.until(b"") if first.calls else first.changed.wait())
    assert first.position is not None
    (tmp_path / "a.log").write_text("1\n")
    second = Emitted()
    await running(TailInput(config, context(first.position)), second, second.until(b"1\n"))


async def test_tail_that_does_not_follow_ends(tmp_path):
    (tmp_path / "a.log").write_text("1\n2")
    emit = Emitted()
    plugin = TailInput(TailConfig(paths=(f"{tmp_path}/*.log",), follow=False), context())
    await plugin.open()
    await plugin.run(emit)
    await plugin.close()
    assert emit.data == b"1\n2\n"


async def test_tail_tells_a_pattern_that_matches_nothing_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tail, "UNMATCHED_SECS", 0.0)
    plugin = TailInput(TailConfig(paths=(f"{tmp_path}/*.log",)), context())

    async def told():
        async with asyncio.timeout(10):
            while not caplog.records:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # for more, which must not come
        assert plugin.status()["unmatched"] == [f"{tmp_path}/*.log"]

    await running(plugin, Emitted(), told())
    assert [record.details for record in caplog.records] == [{"plugin": "in", "detail": f"{tmp_path}/*.log"}]


async def test_tail_leaves_out_what_is_compressed_otherwise_than_by_gzip_and_tells_it_once(tmp_path, caplog):
    (tmp_path / "a.log").write_text("1\n")
    packed = tmp_path / "a.log.1.zst"
    packed.write_bytes(b"\x28\xb5\x2f\xfd rubbish\n")
    emit = Emitted()
    plugin = TailInput(TailConfig(paths=(f"{tmp_path}/*.log*",), read_from="start"), context())

    async def told():
        async with asyncio.timeout(10):
            while not (caplog.records and emit.data):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # for more, which must not come

    await running(plugin, emit, told())
    assert emit.data == b"1\n"
    assert [record.details for record in caplog.records] == [{"plugin": "in", "detail": str(packed)}]


async def test_multiline_is_read_as_json_whatever_the_codec(tmp_path):
    (tmp_path / "a.log").write_text("1 a\n b\n2 c\n")
    emit = Emitted()
    config = TailConfig(paths=(f"{tmp_path}/*.log",), follow=False, multiline={"start": r"^\d"})
    plugin = TailInput(config, context())
    await plugin.open()
    await plugin.run(emit)
    await plugin.close()
    assert emit.data == b'{"message":"1 a\\n b"}\n{"message":"2 c"}\n'
    assert emit.calls[0]["codec"] == "json"


async def test_syslog_tells_the_peer(tmp_path):
    plugin = SyslogInput(SyslogConfig(transport="udp", listen="127.0.0.1:0"), context())
    emit = Emitted()

    async def send():
        port = int(plugin.status()["address"].rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"<1>hello", ("127.0.0.1", port))
        await emit.until(b"<1>hello\n")

    await running(plugin, emit, send())
    assert emit.calls[0]["host"] == "127.0.0.1"


async def test_syslog_says_why_it_cannot_listen(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        plugin = SyslogInput(SyslogConfig(listen=f"127.0.0.1:{other.getsockname()[1]}"), context())
        with pytest.raises(TemporaryError, match=r"127\.0\.0\.1"):
            await plugin.open()
        await plugin.close()
    config = SyslogConfig(transport="tls", listen="127.0.0.1:0", tls={"cert": str(tmp_path / "none.pem")})
    plugin = SyslogInput(config, context())
    with pytest.raises(FatalPluginError, match=r"none\.pem"):
        await plugin.open()
    await plugin.close()


async def test_stdin_ends_with_its_input():
    reading, writing = os.pipe()
    os.write(writing, b"1\n2")
    os.close(writing)
    plugin = StdinInput(StdinConfig(), context())
    plugin.descriptor = reading
    emit = Emitted()
    await plugin.open()
    await plugin.run(emit)
    await plugin.close()
    os.close(reading)
    assert emit.data == b"1\n2\n"

"""Lines from pipes, and blocks of frames from sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

import pytest
import trustme

from dpiped.codecs.framing import fold, unfold
from dpiped.sources.gatherer import Gatherer
from dpiped.sources.lines import LineCutter, read_lines
from dpiped.sources.syslog import ListenOptions, SyslogListener
from dpiped.telemetry import Telemetry
from dpiped.tls import ServerTls


def test_lines_are_cut_after_newlines_whatever_the_reads():
    cutter = LineCutter(10)
    got = [cutter.feed(piece) for piece in (b"ab", b"c\nd", b"e\n", b"x" * 25, b"y\nlast")]
    assert b"".join(got) + cutter.finish() == b"abc\nde\n" + b"x" * 10 + b"\nlast\n"
    assert cutter.cut == 1


async def test_pipe_is_read_to_its_end():
    reading, writing = os.pipe()
    try:
        os.write(writing, b"1\n2\n3")
        os.close(writing)
        assert b"".join([block async for block in read_lines(reading, LineCutter(100))]) == b"1\n2\n3\n"
    finally:
        os.close(reading)


async def test_plain_file_is_read_to_its_end(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"1\n2")
    with path.open("rb") as file:
        assert [block async for block in read_lines(file.fileno(), LineCutter(100))] == [b"1\n", b"2\n"]


async def test_gatherer_mixes_peers_and_keeps_a_frame_one_line():
    gatherer = Gatherer(1000, 4000)
    gatherer.add([b"a", b"b\nc"], "h1")
    gatherer.add([b"d\0e"], "h2")
    block = await gatherer.take(0.001)
    assert block.hosts == ["h1", "h1", "h2"]
    assert [unfold(line) for line in block.data.splitlines()] == [b"a", b"b\nc", b"d\0e"]
    assert gatherer.empty


async def test_gatherer_says_when_it_is_full():
    gatherer = Gatherer(10, 20)
    gatherer.add([b"x" * 30], "h")
    assert gatherer.full and not gatherer.room.is_set()
    await gatherer.take(10.0)
    assert gatherer.room.is_set()


@pytest.fixture
async def listen():
    opened = []

    async def start(**options):
        listener = SyslogListener(ListenOptions(**options), Telemetry(), "syslog")
        await listener.open()
        opened.append(listener)
        return listener

    yield start
    for listener in opened:
        await listener.close()


def port_of(listener):
    return int(listener.address.rpartition(":")[2])


async def take(listener, frames):
    """Blocks until so many frames have come."""
    data, hosts = b"", []
    async with asyncio.timeout(10):
        while len(hosts) < frames:
            block = await listener.take()
            data, hosts = data + block.data, hosts + block.hosts
    assert data.count(b"\n") == len(hosts)
    return data.splitlines(), hosts


async def test_tcp_with_both_framings(listen):
    listener = await listen(transport="tcp")
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
    writer.write(b"<1>line\n8 <1>count<1>last")
    writer.close()
    assert await take(listener, 3) == ([b"<1>line", b"<1>count", b"<1>last"], ["127.0.0.1"] * 3)


@pytest.mark.parametrize("transport", ["udp", "unixgram"])
async def test_datagrams_that_the_kernel_has_are_read_at_a_close(listen, tmp_path, transport):
    path = str(tmp_path / "log") if transport == "unixgram" else ""
    listener = await listen(transport=transport, path=path)
    family = socket.AF_UNIX if path else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for number in range(5):
            sender.sendto(b"<1>%d" % number, path or ("127.0.0.1", port_of(listener)))
    await listener.close()  # the event loop had no turn to read them
    assert not listener.idle
    lines, _ = await take(listener, 5)
    assert lines == [b"<1>%d" % number for number in range(5)]


@pytest.mark.parametrize(("codec", "line"), [("syslog", fold(b"<1>a\n\0b")), ("raw", b"<1>a#012#000b")])
async def test_line_breaks_inside_of_frames_are_folded_for_the_codec_that_unfolds_them(listen, codec, line):
    tcp, udp = await listen(transport="tcp", codec=codec), await listen(transport="udp", codec=codec)
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(tcp))
    writer.write(b"7 <1>a\n\0b")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<1>a\n\0b\n", ("127.0.0.1", port_of(udp)))
    for listener in (tcp, udp):
        block = await listener.take()
        assert block == (line + b"\n", ["127.0.0.1"])
    writer.close()


async def test_udp(listen):
    listener = await listen(transport="udp", max_frame_bytes=500)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for text in (b"<1>one\n", b"<1>two", b"x" * 600):
            sender.sendto(text, ("127.0.0.1", port_of(listener)))
    frames, hosts = await take(listener, 3)
    assert frames == [b"<1>one", b"<1>two", b"x" * 500]
    assert set(hosts) == {"127.0.0.1"}
    assert listener.counts["datagram_cut"] == 1


@pytest.mark.parametrize(("transport", "kind"), [("unix", socket.SOCK_STREAM), ("unixgram", socket.SOCK_DGRAM)])
async def test_unix_sockets(listen, tmp_path, transport, kind):
    path = str(tmp_path / "s")
    listener = await listen(transport=transport, path=path)
    with socket.socket(socket.AF_UNIX, kind) as sender:
        sender.connect(path)
        sender.send(b"<1>hello\n")
    assert await take(listener, 1) == ([b"<1>hello"], [""])


async def test_socket_file_of_a_dead_process_is_replaced_and_a_live_one_is_not(listen, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(path)
    await listen(transport="unixgram", path=path)
    with pytest.raises(OSError, match="in use"):
        await SyslogListener(ListenOptions(transport="unixgram", path=path), Telemetry(), "syslog").open()


async def test_tls(listen, tmp_path):
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    listener = await listen(transport="tls", tls=ServerTls(cert=str(tmp_path / "server.pem")))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(listener), ssl=context, server_hostname="localhost")
    writer.write(b"<1>secret\n")
    assert (await take(listener, 1))[0] == [b"<1>secret"]
    writer.close()


async def test_a_handshake_under_way_does_not_hold_the_close(listen, tmp_path):
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    listener = await listen(transport="tls", tls=ServerTls(cert=str(tmp_path / "server.pem")))
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
    writer.write(b"\x16\x03")
    await writer.drain()
    async with asyncio.timeout(5):
        await listener.close()
    writer.close()


async def test_peers_wait_while_nobody_takes(listen):
    """All of it arrives, and never more than about the room is held."""
    listener = await listen(transport="tcp", block_bytes=10_000)
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
    line = b"<1>" + b"x" * 96 + b"\n"
    sending = asyncio.create_task(_send(writer, line * 100_000))
    frames, _ = await take(listener, 100_000)
    await sending
    assert set(frames) == {line[:-1]}
    writer.close()


async def _send(writer, data):
    writer.write(data)
    await writer.drain()


async def test_too_many_connections_are_closed_and_counted(listen):
    listener = await listen(transport="tcp", max_connections=1)
    _, first = await asyncio.open_connection("127.0.0.1", port_of(listener))
    first.write(b"<1>a\n")
    await take(listener, 1)
    reader, second = await asyncio.open_connection("127.0.0.1", port_of(listener))
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    assert listener.counts["connection_refused"] == 1
    first.close()
    second.close()


async def test_long_frames_are_cut_and_counted(listen):
    listener = await listen(transport="tcp", max_frame_bytes=500)
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
    writer.write(b"<1>" + b"x" * 5000 + b"\n<1>next\n")
    frames, _ = await take(listener, 2)
    assert [len(frame) for frame in frames] == [500, 7]
    assert listener.counts["frame_cut"] == 1
    writer.close()


async def test_datagrams_that_the_kernel_drops_are_counted(listen):
    listener = await listen(transport="udp", receive_buffer_bytes=4096, block_bytes=1000)
    sent = 400
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(sent):
            sender.sendto(b"%06d" % number + b"x" * 200, ("127.0.0.1", port_of(listener)))
    taken = 0
    async with asyncio.timeout(10):
        while taken + listener.counts["kernel_dropped"] < sent:
            try:
                async with asyncio.timeout(0.1):
                    taken += len((await listener.take()).hosts)
            except TimeoutError:
                listener._count_kernel_drops()
    assert taken > 0
    assert listener.counts["kernel_dropped"] == sent - taken > 0


async def test_silent_peers_are_closed_and_counted_and_busy_ones_are_not(listen, monkeypatch):
    monkeypatch.setattr("dpiped.sources.syslog.SWEEP_SECS", 0.02)
    listener = await listen(transport="tcp", idle_secs=1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
    _, busy = await asyncio.open_connection("127.0.0.1", port_of(listener))
    writer.write(b"<1>a line\n")
    await take(listener, 1)
    async with asyncio.timeout(10):
        while not reader.at_eof():
            busy.write(b"<1>busy\n")
            await take(listener, 1)
            try:
                async with asyncio.timeout(0.05):
                    assert await reader.read(1) == b""
            except TimeoutError:
                pass
    assert listener.counts["idle_closed"] == 1
    assert listener.connections == 1
    writer.close()
    busy.close()

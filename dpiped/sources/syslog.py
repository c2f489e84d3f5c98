"""SyslogListener: receives syslog frames by udp, tcp, tls or unix socket, and gives them in blocks.

Plain syslog has no acknowledgement: what was in a socket or in the block being gathered at a kill is lost. While the
consumer is busy TCP peers are not read (the kernel makes them wait); datagrams wait in the kernel's buffer, and what
does not fit there is counted as dropped, by the kernel.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from dpiped.codecs.framing import FrameSplitter, flatten, fold
from dpiped.handshake import Handshakes
from dpiped.sources.gatherer import Block, Gatherer
from dpiped.sources.sockets import bind_udp, bind_unix, raise_receive_buffer, udp_drops, until_closed
from dpiped.telemetry import Telemetry
from dpiped.tls import ServerTls, Tls

Transport = Literal["tcp", "tls", "udp", "unix", "unixgram"]
DATAGRAMS_AT_ONCE = 256
"""After so many the event loop gets its turn."""
SWEEP_SECS = 1.0


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """Where and how to listen."""

    transport: Transport
    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    """Of a unix socket."""
    socket_mode: int = 0o666
    max_frame_bytes: int = 64 << 10
    max_connections: int = 4096
    idle_secs: float = 3600.0
    receive_buffer_bytes: int = 8 << 20
    block_bytes: int = 1 << 20
    gather_secs: float = 0.005
    tls: ServerTls | None = None
    """Of transport "tls"."""
    codec: str = "syslog"
    """What reads the frames: only `syslog` unfolds line breaks inside of them."""


class SyslogListener:
    """One socket and its peers. Use: `open`, then `take` again and again, at last `close`.

    Args:
        telemetry: is told what is worth knowing.
        name: of the input, there.
    """

    def __init__(self, options: ListenOptions, telemetry: Telemetry, name: str) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        """What happened: "kernel_dropped", "frame_cut", "datagram_cut", "connection_refused", "idle_closed", .. -> how
        often.
        """
        self.address = ""
        """The real address, after `open`."""
        self._telemetry = telemetry
        self._name = name
        as_line = fold if options.codec == "syslog" else flatten
        self._gatherer = Gatherer(options.block_bytes, 4 * options.block_bytes, as_line)
        self._server: asyncio.Server | None = None
        self._tls: Tls | None = None
        self._handshakes = Handshakes(telemetry, name)
        self._socket: socket.socket | None = None
        self._peers: set[_Peer] = set()
        self._paused: set[_Peer] = set()
        self._reading = False
        self._sweeper: asyncio.Task[None] | None = None
        self._kernel_seen = 0
        self._buffer = bytearray(max(options.max_frame_bytes, 64 << 10) + 1)

    async def open(self) -> None:
        """Binds. Raises OSError, or TlsError when the certificate cannot be used."""
        options = self.options
        if options.transport in ("udp", "unixgram"):
            self._open_datagrams()
        elif options.transport == "unix":
            sock = bind_unix(options.path, socket.SOCK_STREAM, options.socket_mode)
            self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Peer(self), sock=sock)
            self.address = options.path
        else:
            self._tls = Tls(options.tls) if options.tls is not None else None
            self._server = await asyncio.get_running_loop().create_server(
                self._protocol, options.host, options.port, backlog=1024, reuse_address=True
            )
            name = self._server.sockets[0].getsockname()
            self.address = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        self._sweeper = asyncio.create_task(self._sweep(), name="syslog-sweep")

    def _open_datagrams(self) -> None:
        options = self.options
        if options.transport == "udp":
            sock = bind_udp(options.host, options.port)
            name = sock.getsockname()
            self.address = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        else:
            sock = bind_unix(options.path, socket.SOCK_DGRAM, options.socket_mode)
            self.address = options.path
        self._socket = sock
        granted = raise_receive_buffer(sock, options.receive_buffer_bytes)
        if granted < options.receive_buffer_bytes:
            self._say(
                f"the kernel grants a receive buffer of {granted} bytes for {self.address}, "
                f"{options.receive_buffer_bytes} were asked for: raise net.core.rmem_max"
            )
        self._read_datagrams(on=True)

    def _say(self, text: str) -> None:
        self._telemetry.say(text, plugin=self._name)

    def renew(self) -> bool:
        """Takes the files of TLS again; see Tls.renew. Raises TlsError."""
        return self._tls is None or self._tls.renew()

    async def take(self) -> Block:
        """The next block. Waits for as long as nothing comes."""
        block = await self._gatherer.take(self.options.gather_secs)
        for peer in self._paused:
            peer.resume()
        self._paused.clear()
        self._read_datagrams(on=True)
        return block

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._gatherer.empty

    @property
    def connections(self) -> int:
        return len(self._peers)

    async def close(self) -> None:
        """Stops listening and closes all peers; what has gathered can still be taken."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self._count_kernel_drops()
        self._read_datagrams(on=False)
        self._drain()
        if self._server is not None:
            self._server.close()
        await self._handshakes.close()
        for peer in list(self._peers):
            peer.shut()
        if self._server is not None:
            await until_closed(self._server)
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self.options.path:
            Path(self.options.path).unlink(missing_ok=True)

    # What the peers call

    def _protocol(self) -> asyncio.Protocol:
        """For a connection that was just accepted."""
        return self._handshakes.before(_Peer(self), self._tls)

    def joined(self, peer: _Peer) -> bool:
        """False: there are too many already."""
        if len(self._peers) >= self.options.max_connections:
            self.counts["connection_refused"] += 1
            return False
        self._peers.add(peer)
        return True

    def left(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        self._paused.discard(peer)

    def received(self, peer: _Peer, frames: list[bytes]) -> None:
        if frames:
            self._gatherer.add(frames, peer.host)
        if self._gatherer.full:
            peer.pause()
            self._paused.add(peer)

    # Datagrams

    def _read_datagrams(self, *, on: bool) -> None:
        if self._socket is None or on == self._reading:
            return
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self._socket.fileno(), self._datagrams)
        else:
            loop.remove_reader(self._socket.fileno())
        self._reading = on

    def _drain(self) -> None:
        """Reads what the kernel still has of datagrams, as far as there is room."""
        while self._socket is not None and not self._gatherer.full and self._datagrams():
            pass

    def _datagrams(self) -> bool:
        """Reads some; whether there may be more now."""
        assert self._socket is not None
        buffer, most = self._buffer, self.options.max_frame_bytes
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                size, _, flags, address = self._socket.recvmsg_into([buffer])
            except BlockingIOError:
                return False
            except OSError as exc:  # an error that the network reported for an earlier datagram
                self.counts["receive_error"] += 1
                self._say(f"receiving on {self.address}: {exc.strerror}")
                return False
            if flags & socket.MSG_TRUNC or size > most:
                self.counts["datagram_cut"] += 1
                size = min(size, most)
            frame = bytes(memoryview(buffer)[:size]).rstrip(b"\r\n\0")
            if frame:
                self._gatherer.add([frame], address[0] if isinstance(address, tuple) else "")
            if self._gatherer.full:
                self._read_datagrams(on=False)
                return False
        return True

    def _count_kernel_drops(self) -> None:
        if self._socket is None or self.options.transport != "udp":
            return
        drops = udp_drops(self._socket)
        if drops is not None and drops > self._kernel_seen:
            self.counts["kernel_dropped"] += drops - self._kernel_seen
            self._kernel_seen = drops

    async def _sweep(self) -> None:
        """Closes idle peers and asks the kernel what it dropped."""
        while True:
            await asyncio.sleep(SWEEP_SECS)
            self._count_kernel_drops()
            limit = time.monotonic() - self.options.idle_secs
            for peer in [peer for peer in self._peers if peer.last_seen < limit and peer not in self._paused]:
                self.counts["idle_closed"] += 1
                peer.shut()


class _Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, listener: SyslogListener) -> None:
        self._listener = listener
        self._splitter = FrameSplitter(listener.options.max_frame_bytes)
        self._transport: asyncio.Transport | None = None
        self.host = ""
        self.last_seen = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        if not self._listener.joined(self):
            self._transport.abort()
            return
        address = transport.get_extra_info("peername")
        self.host = address[0] if isinstance(address, tuple) and address else ""

    def data_received(self, data: bytes) -> None:
        self.last_seen = time.monotonic()
        frames = self._splitter.feed(data)
        self._count()
        self._listener.received(self, frames)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.received(self, self._splitter.finish())
        self._count()
        self._listener.left(self)

    def _count(self) -> None:
        counts = self._listener.counts
        if self._splitter.frames_cut:
            counts["frame_cut"] += self._splitter.frames_cut
            self._splitter.frames_cut = 0
        if self._splitter.resynchronised:
            counts["frame_resynchronised"] += self._splitter.resynchronised
            self._splitter.resynchronised = 0

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def shut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

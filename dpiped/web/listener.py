"""HttpListener: a bound address in front of an aiohttp server, with the limits that strangers need.

A connection is cut off when its TLS handshake takes longer than HANDSHAKE_SECS, when it has not sent a whole request
head for `idle_secs`, and, above `max_connections`, with its first byte (503). Sizes of heads are aiohttp's: 8 KiB a
line, 128 lines.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from dpiped.config.base import split_listen
from dpiped.handshake import Handshakes
from dpiped.telemetry import Telemetry
from dpiped.tls import ServerTls, Tls
from dpiped.web.half_open import HalfOpen, is_busy
from dpiped.web.handover import copies_of, leave, take

if TYPE_CHECKING:
    from aiohttp import web

SWEEP_SECS = 1.0
QUIET_SECS = 0.5
"""While it is closed, a connection without a request is closed: one that has just been made may say something yet."""
LOOK_SECS = 0.02
LINGER_SECS = 2.0
"""A connection that is turned away may read its answer for so long."""
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b'Connection: close\r\nContent-Length: 32\r\n\r\n{"error":"too many connections"}'
)


class HttpListener:
    """Use: `open`, then `sweep` for as long as it listens, at last `close`. All on the event loop.

    Args:
        runner: what answers; this object sets it up and cleans it up.
        telemetry: is told what happens to strangers: "turned_away", and handshakes that fail.
        name: of whose address it is, there.
        half_open: a client that ends its side gets its answers all the same. Else what is done for one that has gone is
            ended: the two look alike.
    """

    def __init__(
        self,
        runner: web.ServerRunner | web.AppRunner,
        listen: str,
        tls: ServerTls | None,
        *,
        max_connections: int,
        idle_secs: float,
        telemetry: Telemetry,
        name: str,
        half_open: bool = False,
    ) -> None:
        self._runner = runner
        self._listen = listen
        self._tls_config = tls
        self._tls: Tls | None = None
        self._max_connections = max_connections
        self._idle_secs = idle_secs
        self._telemetry = telemetry
        self._name = name
        self._half_open = half_open
        self._servers: list[asyncio.Server] = []
        """One, or one for each socket that was taken over."""
        self._last_seen: dict[Any, float] = {}
        """Connection -> when its last request ended; infinity while one is being answered."""
        self._handshakes = Handshakes(telemetry, name)
        self.closing = False
        """Connections are to be closed once their request is answered: answers say so."""
        self.address = ""
        """The real one, after `open`."""

    async def open(self) -> None:
        """Binds. Raises OSError, or TlsError when the certificate cannot be used."""
        if self._tls_config is not None:
            self._tls = Tls(self._tls_config)
        await self._runner.setup()
        await self._serve(take(self._listen))
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def _serve(self, sockets: Sequence[socket.socket]) -> None:
        """Accepts on these sockets; on new ones if there are none."""
        create = partial(asyncio.get_running_loop().create_server, self._protocol, backlog=1024)
        if sockets:
            self._servers = [await create(sock=sock) for sock in sockets]
        else:
            host, port = split_listen(self._listen)
            self._servers = [await create(host, port, reuse_address=True)]

    @property
    def connections(self) -> int:
        """Those that can send requests."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    def _protocol(self) -> asyncio.Protocol:
        """For a connection that was just accepted, before its handshake."""
        server = self._runner.server
        if server is None or self.connections + len(self._handshakes) >= self._max_connections:
            self._telemetry.metrics.noted.labels(self._name, "turned_away").inc()
            return _TurnedAway()
        protocol: Any = server()
        if self._tls is None and self._half_open and HalfOpen.fits(protocol):
            protocol = HalfOpen(protocol)
        return self._handshakes.before(protocol, self._tls)

    @contextmanager
    def answering(self, request: web.BaseRequest) -> Iterator[None]:
        """Around the handling of each request: meanwhile its connection is not idle."""
        self._last_seen[request.protocol] = float("inf")
        try:
            yield
        finally:
            self._last_seen[request.protocol] = time.monotonic()

    async def sweep(self) -> None:
        """Closes idle connections, for ever."""
        while True:
            await asyncio.sleep(min(SWEEP_SECS, self._idle_secs / 4))
            self._close_idle()

    def _close_idle(self) -> None:
        now = time.monotonic()
        here = set(self._runner.server.connections) if self._runner.server is not None else set()
        for connection in here:
            since = self._last_seen.setdefault(connection, now)
            if now - since > self._idle_secs:
                connection.force_close()
        self._last_seen = {connection: since for connection, since in self._last_seen.items() if connection in here}

    def _close_quiet(self) -> None:
        """As above, all that have nothing to answer and said nothing for a moment."""
        self._close_idle()
        until = time.monotonic() - QUIET_SECS
        for connection, since in self._last_seen.items():
            if since < until and not is_busy(connection):
                connection.force_close()

    def renew(self) -> bool:
        """Takes the files of TLS again; see Tls.renew. Raises TlsError."""
        return self._tls is None or self._tls.renew()

    async def _stop_accepting(self) -> None:
        """asyncio forgets a connection that was accepted right before its server is closed: nobody would read it, nor
        close it. So what was accepted gets its turn first.
        """
        for server in self._servers:
            for sock in server.sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())
        await asyncio.sleep(0)
        for server in self._servers:
            server.close()

    async def bind_again(self) -> None:
        """A new context on the same sockets: authorities that were taken out are forgotten. Open connections are closed
        once their request is answered.
        """
        assert self._tls_config is not None
        self._tls = Tls(self._tls_config)
        sockets = copies_of(self._servers)
        await self._stop_accepting()
        await self._serve(sockets)
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                connection.close()

    async def close(self, within_secs: float = 0.0) -> None:
        """Stops listening. Requests under way get so long to arrive and be answered, and then the runner's
        `shutdown_timeout`, in which aiohttp reads no more of their bodies.
        """
        leave(self._listen, self._servers)
        await self._stop_accepting()
        self.closing = True
        until = time.monotonic() + within_secs
        while time.monotonic() < until and (self.connections or self._handshakes):
            self._close_quiet()
            await asyncio.sleep(LOOK_SECS)
        await self._handshakes.close()
        await self._runner.cleanup()


class _TurnedAway(asyncio.Protocol):
    """Says 503 to whatever it is told. Lingers a moment, or the answer would be lost with the rest of the request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._answered = False
        asyncio.get_running_loop().call_later(LINGER_SECS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self._answered:
            self._answered = True
            self._transport.write(_TURNED_AWAY)
            if self._transport.can_write_eof():
                self._transport.write_eof()

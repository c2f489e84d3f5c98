"""Handshakes: accepted connections until their TLS handshake is done, so that one that fails is counted and told.

A server of asyncio keeps such a failure to itself: the connection is gone, and nobody hears why, nor whose it was. So a
listener accepts plain connections, and each begins with a protocol that makes a connection of the real one of it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import cast

from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import HandshakesFailed
from dpiped.tls import HANDSHAKE_SECS, Tls

BROKEN_OFF = "tls_broken_off"
"""Only counted: whoever looks whether the port is open does that."""


class Handshakes:
    """Those of one listener that are under way.

    Args:
        plugin: whose address it is.
    """

    def __init__(self, telemetry: Telemetry, plugin: str) -> None:
        self._telemetry = telemetry
        self._plugin = plugin
        self._under_way: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    def before(self, protocol: asyncio.Protocol, tls: Tls | None) -> asyncio.Protocol:
        """For a connection that was just accepted; `protocol` gets it when its handshake is done, or at once."""
        return protocol if tls is None else _Handshake(self, protocol, tls.context)

    def begin(self, sock: socket.socket, peer: str, protocol: asyncio.Protocol, context: ssl.SSLContext) -> None:
        """The socket is in our hands from here on."""
        task = asyncio.create_task(self._shake(sock, peer, protocol, context), name="TLS handshake")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _shake(self, sock: socket.socket, peer: str, protocol: asyncio.Protocol, context: ssl.SSLContext) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECS
            )
        except OSError as exc:
            self.failed(exc, peer)

    def failed(self, exc: OSError, peer: str) -> None:
        """Counts and tells it."""
        what, reason = _what(exc)
        if what == BROKEN_OFF:
            self._telemetry.metrics.noted.labels(self._plugin, what).inc()
        else:
            failed = HandshakesFailed(plugin=self._plugin, amount=1, what=what, reason=reason, peer=peer)
            self._telemetry.emit(failed)

    async def close(self) -> None:
        """Breaks off those that are under way."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Handshake(asyncio.Protocol):
    """The first protocol of a connection."""

    def __init__(self, owner: Handshakes, protocol: asyncio.Protocol, context: ssl.SSLContext) -> None:
        self._owner = owner
        self._protocol = protocol
        self._context = context

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        peer = name[0] if isinstance(name, tuple) else ""
        try:
            sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        except OSError as exc:  # no descriptor is left
            self._owner.failed(exc, peer)
        else:
            self._owner.begin(sock, peer, self._protocol, self._context)
        cast("asyncio.Transport", transport).abort()  # before it reads; the copy stays open


def _what(exc: OSError) -> tuple[str, str]:
    """For the metric, and in words."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return "tls_wrong_certificate", f"its certificate is not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        said = (exc.reason or str(exc)).replace("_", " ").lower()
        if exc.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
            return "tls_no_certificate", "it shows no certificate"
        if " alert " in said:
            return "tls_refused", f"it does not accept ours: {said.partition(' alert ')[2]}"
        return "tls_failed", said
    if isinstance(exc, ConnectionAbortedError):
        return "tls_too_slow", "it is too slow"
    return (BROKEN_OFF, "") if isinstance(exc, ConnectionError) else ("tls_failed", exc.strerror or str(exc))

"""Handshake: an accepted connection until its TLS handshake is done, so that one that fails is counted and told.

A server of asyncio keeps such a failure to itself: the connection is gone, and nobody hears why, nor whose it was. So a
listener accepts plain connections, and each begins as a Handshake, which makes a connection of the real protocol of it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import cast

from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import HandshakesFailed
from dpiped.tls import HANDSHAKE_SECS

BROKEN_OFF = "tls_broken_off"
"""Only counted: whoever looks whether the port is open does that."""


class Handshake(asyncio.Protocol):
    """The first protocol of a connection.

    Args:
        protocol: gets the connection when the handshake is done.
        plugin: whose address it is.
        ended: called once, whatever became of it; the protocol has the connection then if it was done.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: asyncio.Protocol,
        telemetry: Telemetry,
        plugin: str,
        ended: Callable[[Handshake], None] = lambda handshake: None,
    ) -> None:
        self._context = context
        self._protocol = protocol
        self._telemetry = telemetry
        self._plugin = plugin
        self._ended = ended
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        peer = name[0] if isinstance(name, tuple) else ""
        try:
            sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        except OSError as exc:  # no descriptor is left
            self._tell(exc, peer)
            self._ended(self)
        else:
            self._task = asyncio.create_task(self._shake(sock, peer), name="TLS handshake")
        cast("asyncio.Transport", transport).abort()  # before it reads; the copy stays open

    async def _shake(self, sock: socket.socket, peer: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol, sock, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECS
            )
        except OSError as exc:
            self._tell(exc, peer)
        finally:
            self._ended(self)

    def _tell(self, exc: OSError, peer: str) -> None:
        what, reason = _what(exc)
        if what == BROKEN_OFF:
            self._telemetry.metrics.noted.labels(self._plugin, what).inc()
        else:
            failed = HandshakesFailed(plugin=self._plugin, amount=1, what=what, reason=reason, peer=peer)
            self._telemetry.emit(failed)


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

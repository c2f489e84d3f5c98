"""Input `syslog`: receives syslog by udp, tcp, tls or unix socket.

Delivery: plain syslog has no acknowledgement, so what was in a socket or being gathered at a kill is lost, at a stop
what connections had not handed over yet; what was taken is durable before more is read. TCP senders wait while the
journal takes nothing; datagrams are dropped by the kernel then, and counted. Line breaks inside of a frame or datagram
are part of the message; codecs other than `syslog` read lines, so they get `#012` for one, as rsyslog writes it, and
`#000` for NUL. Syslog knows no tokens: whoever reaches the address can send, unless `tls` has a `client_ca`.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

from dpiped.api import (
    Emit,
    FatalPluginError,
    Input,
    Noted,
    PluginConfig,
    SyslogBlock,
    SyslogListener,
    SyslogOptions,
    TemporaryError,
    TlsError,
    register,
)

TELL_SECS = 1.0
"""How often log and metrics hear what was counted."""
STOP_SECS = 2.0
"""A full journal gets no longer."""


class SyslogConfig(PluginConfig, SyslogOptions):
    pass


@register("syslog")
class SyslogInput(Input[SyslogConfig]):
    default_codec = "syslog"

    async def open(self) -> None:
        telemetry, name = self.context.telemetry, self.context.name
        self._noted = Noted(telemetry, name)
        codec = self.context.own_codec
        options = replace(self.config.listen_options(), codec=codec.name if codec else self.default_codec)
        self._listener = SyslogListener(options, telemetry, name)
        try:
            await self._listener.open()
        except TlsError as exc:
            raise FatalPluginError(str(exc)) from exc
        except OSError as exc:
            kind = TemporaryError if exc.errno != errno.EACCES else FatalPluginError
            raise kind(f"listen on {self.config.path or self.config.listen}: {exc.strerror or exc}") from exc

    async def run(self, emit: Emit) -> None:
        telling = asyncio.create_task(self._tell(), name="syslog counts")
        storing: asyncio.Task[None] | None = None
        try:
            while True:
                block = await self._listener.take()
                storing = asyncio.create_task(_store(emit, block), name="syslog block")
                await asyncio.shield(storing)
        except asyncio.CancelledError:
            await self._finish(emit, storing)
            raise
        finally:
            telling.cancel()
            await asyncio.wait((telling,))

    async def _finish(self, emit: Emit, storing: asyncio.Task[None] | None) -> None:
        """At a stop, what was received is stored, if that goes quickly."""
        await self._listener.close()
        if storing is not None:
            await _end(storing)
        takes_nothing = storing is not None and storing.cancelled()
        if not self._listener.idle and not takes_nothing:
            await _end(asyncio.create_task(_store(emit, await self._listener.take()), name="syslog rest"))

    async def _tell(self) -> None:
        """Also when nothing comes, as from peers that are turned away."""
        while True:
            await asyncio.sleep(TELL_SECS)
            self._noted.tell(self._listener.counts)

    def renew(self) -> bool:
        return not hasattr(self, "_listener") or self._listener.renew()

    async def close(self) -> None:
        if hasattr(self, "_listener"):
            await self._listener.close()
            self._noted.tell(self._listener.counts)

    def status(self) -> dict[str, object]:
        return {"address": self._listener.address, "connections": self._listener.connections, **self._listener.counts}


async def _store(emit: Emit, block: SyslogBlock) -> None:
    hosts = set(block.hosts)
    if len(hosts) == 1:
        await emit(block.data, host=hosts.pop())
    else:
        await emit(block.data, hosts=block.hosts)


async def _end(storing: asyncio.Task[None]) -> None:
    await asyncio.wait((storing,), timeout=STOP_SECS)
    storing.cancel()
    await asyncio.gather(storing, return_exceptions=True)

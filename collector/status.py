"""The local status address: /metrics, /healthz, /status. Written by hand, for a web framework would double our
memory.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from dpiped.handshake import Handshakes
from dpiped.hidden import blot
from dpiped.sources.sockets import until_closed
from dpiped.tls import ServerTls, Tls

if TYPE_CHECKING:
    from collector.collector import Collector

REQUEST_SECS = 5.0
MAX_CONNECTIONS = 32
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_LANE_METRICS = {
    "batches": "Batches acknowledged",
    "lines": "Lines acknowledged",
    "bytes": "Bytes of lines acknowledged",
    "duplicates": "Batches that had arrived before",
    "rejected": "Lines that the daemon put into its dead letter",
    "retries": "Tries that did not succeed",
    "failovers": "Batches moved to the next endpoint",
    "halved": "Batches that were too large for the daemon",
    "in_doubt": "Lines that may have arrived twice or not at all",
    "too_large": "Lines given up because the daemon takes none of their size",
}


class StatusServer:
    """Answers one request a connection."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._server: asyncio.Server | None = None
        self._tls: Tls | None = None
        self._handshakes = Handshakes(collector.telemetry, "status")
        self._open_now = 0

    async def open(self, host: str, port: int, tls: ServerTls | None = None) -> str:
        """Binds; the real address. Raises OSError or TlsError."""
        self._tls = Tls(tls) if tls is not None else None
        self._server = await asyncio.get_running_loop().create_server(self._protocol, host, port)
        name = self._server.sockets[0].getsockname()
        return f"{name[0]}:{name[1]}"

    def renew(self) -> bool:
        """Takes the files of TLS again; see dpiped.tls. Raises TlsError."""
        return self._tls is None or self._tls.renew()

    async def close(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()
            await self._handshakes.close()
            await until_closed(self._server)
            self._server = None

    def _protocol(self) -> asyncio.Protocol:
        """For a connection that was just accepted."""
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=8192), self._serve)
        return self._handshakes.before(protocol, self._tls)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open_now += 1
        try:
            if self._open_now > MAX_CONNECTIONS:
                return
            async with asyncio.timeout(REQUEST_SECS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # who asks like that gets no answer
        finally:
            self._open_now -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            status, kind, body = 405, "text/plain", b"only GET\n"
        else:
            status, kind, page = self._page(path)
            body = blot(page.decode()).encode()
        top = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return top.encode() + (b"" if method == b"HEAD" else body)

    def _page(self, path: bytes) -> tuple[int, str, bytes]:
        if path == b"/metrics":
            return 200, "text/plain; version=0.0.4", self.metrics()
        if path == b"/status":
            return 200, "application/json", json.dumps(self._collector.report()).encode() + b"\n"
        if path == b"/healthz":
            trouble = self._collector.trouble
            return (503, "text/plain", trouble.encode() + b"\n") if trouble else (200, "text/plain", b"ok\n")
        return 404, "text/plain", b"try /metrics, /healthz or /status\n"

    def metrics(self) -> bytes:
        """Prometheus text: what lanes and feeds counted, then what telemetry did."""
        lines: list[str] = []
        for name, text in _LANE_METRICS.items():
            lines += [f"# HELP dpipe_collector_{name}_total {text}", f"# TYPE dpipe_collector_{name}_total counter"]
            lines += [
                f'dpipe_collector_{name}_total{{stream="{lane.stream.id}"}} {lane.counts[name]}'
                for lane in self._collector.lanes
            ]
        feeds = self._collector.feeds
        lines += [
            "# HELP dpipe_collector_input_bytes_total Bytes of lines read",
            "# TYPE dpipe_collector_input_bytes_total counter",
        ]
        lines += [f'dpipe_collector_input_bytes_total{{input="{feed.name}"}} {feed.bytes}' for feed in feeds]
        lines += [
            "# HELP dpipe_collector_noted_total What happened to inputs",
            "# TYPE dpipe_collector_noted_total counter",
        ]
        lines += [
            f'dpipe_collector_noted_total{{input="{feed.name}",what="{what}"}} {amount}'
            for feed in feeds
            for what, amount in feed.counts().items()
        ]
        return "\n".join([*lines, ""]).encode() + self._collector.telemetry.metrics.text()

"""A small HTTP/1.1 client: POST with keep-alive, and what its failures prove.

Why not aiohttp's: it costs the collector 11 MB and 0.2 s of start, and does not tell for sure whether a request may
have arrived. Here ConnectError means that nothing was sent; ExchangeError that nobody knows.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import defaultdict
from typing import NamedTuple
from urllib.parse import urlsplit

CONNECT_SECS = 10.0
IDLE_SECS = 30.0
"""An idle connection that is older is not used again: the daemon may be about to close it."""
MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = 4 << 20


class ConnectError(Exception):
    """There is no connection: the request did not arrive."""


class ExchangeError(Exception):
    """The request was sent, wholly or in part, and there is no answer."""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class _Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float


Key = tuple[str, str, int]
"""(scheme, host, port)."""


class HttpClient:
    """Any number of requests at a time, each on a connection of its own. `close` at the end.

    Args:
        context: for https; None: no URL is.
    """

    def __init__(self, timeout_secs: float, context: ssl.SSLContext | None = None) -> None:
        self._timeout_secs = timeout_secs
        self._idle: dict[Key, list[_Connection]] = defaultdict(list)
        self._context = context

    def set_context(self, context: ssl.SSLContext | None = None) -> None:
        """For new connections. Idle ones are closed, requests under way go on."""
        self._context = context
        idle, self._idle = self._idle, defaultdict(list)
        for connection in (connection for connections in idle.values() for connection in connections):
            connection.writer.close()

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Reply:
        """Raises ConnectError or ExchangeError."""
        parts = urlsplit(url)
        key = (parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        connection = self._kept(key) or await self._connect(key)
        head = [
            f"POST {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            *(f"{name}: {value}" for name, value in headers.items()),
            f"Content-Length: {len(body)}",
            "",
            "",
        ]
        reusable = False
        try:
            async with asyncio.timeout(self._timeout_secs):
                reply, reusable = await _exchange(connection, "\r\n".join(head).encode(), body)
        except TimeoutError as exc:
            raise ExchangeError(f"no answer within {self._timeout_secs:g} s") from exc
        except asyncio.IncompleteReadError as exc:
            raise ExchangeError("it closed the connection") from exc
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as exc:
            raise ExchangeError(f"{type(exc).__name__}: {exc}") from exc
        finally:
            if reusable:
                self._idle[key].append(connection._replace(idle_since=time.monotonic()))
            else:
                connection.writer.close()
        return reply

    def _kept(self, key: Key) -> _Connection | None:
        """An idle connection that is still open."""
        while self._idle[key]:
            connection = self._idle[key].pop()
            fresh = time.monotonic() - connection.idle_since < IDLE_SECS
            if fresh and not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        return None

    async def _connect(self, key: Key) -> _Connection:
        scheme, host, port = key
        try:
            async with asyncio.timeout(min(CONNECT_SECS, self._timeout_secs)):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=self._context if scheme == "https" else None, limit=MAX_HEAD_BYTES
                )
        except TimeoutError as exc:
            raise ConnectError("no answer to connect") from exc
        except OSError as exc:  # refused, no such name, a certificate that is not trusted
            raise ConnectError(exc.strerror or str(exc)) from exc
        return _Connection(reader, writer, 0.0)

    async def close(self) -> None:
        """Closes what is idle."""
        writers = [connection.writer for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _exchange(connection: _Connection, head: bytes, body: bytes) -> tuple[Reply, bool]:
    """The reply, and whether the connection can be used again.

    The reply is read while the body is still being sent: who refuses a large body says so early and closes.
    """
    reader, writer, _ = connection
    writer.writelines([head, body])
    sending = asyncio.create_task(writer.drain())
    try:
        reply, keep = await _read_reply(reader)
    finally:
        sent = sending.done() and not sending.cancelled() and sending.exception() is None
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return reply, keep and sent


async def _read_reply(reader: asyncio.StreamReader) -> tuple[Reply, bool]:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        status = int(rest[:3])
        if status >= 200:  # 100 Continue and the like come before the reply
            break
    fields = [line.partition(":") for line in lines if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    if status in (204, 304):
        return Reply(status, headers, b""), keep
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return Reply(status, headers, await _read_chunks(reader)), keep
    if "content-length" in headers:
        size = int(headers["content-length"])
        if size > MAX_BODY_BYTES:
            raise ValueError("the reply is too long")
        return Reply(status, headers, await reader.readexactly(size)), keep
    return Reply(status, headers, await reader.read(MAX_BODY_BYTES)), False


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        if sum(map(len, pieces)) + size > MAX_BODY_BYTES:
            raise ValueError("the reply is too long")
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(pieces)

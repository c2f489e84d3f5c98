"""Makes a PostgreSQL look like Redshift: passes its protocol through, and does `COPY .. FROM 's3://..'` itself.

A message of the protocol is one byte of kind, four of length (with themselves), and the rest; the first one of a client
has no kind. A statement without parameters comes as `Q`. The shim reads the objects of the manifest, sends the real
server `COPY .. FROM STDIN`, answers its `G` with all rows, and lets what it says then through: so COPY runs in the
client's own session and transaction.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from tests.servers.in_thread import InThread
from tests.servers.s3_stub import opened

COPY = re.compile(
    rb"COPY (\S+) \(([^)]*)\) FROM '(s3://[^']*)' IAM_ROLE (default|'[^']*') MANIFEST FORMAT AS JSON 'auto'"
)
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104


class RedshiftShim(InThread):
    """`with RedshiftShim(port, read) as shim`.

    Args:
        port: of the real server.
        read: the bytes of an object, by its s3:// address; raises KeyError if it is not there.
    """

    def __init__(self, port: int, read: Callable[[str], bytes]) -> None:
        super().__init__()
        self._target = port
        self._read = read
        self.port = 0
        self.copies = 0
        self.cut: Callable[[bytes], str] = lambda statement: ""
        """What becomes of a statement: "before": the connection breaks before it is done; "after": it is done, and
        nobody hears of it."""

    async def serve(self, ended: asyncio.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        self.ready()
        await ended.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        session = _Session(self, reader, writer, there, back)
        tasks = [asyncio.create_task(session.upwards()), asyncio.create_task(session.downwards())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (writer, back):
            one.close()

    def rows(self, manifest: str, columns: list[str]) -> bytes:
        """All events of a manifest as CSV; raises KeyError when an object is missing."""
        entries = json.loads(self._read(manifest))["entries"]
        lines = (line for one in entries for line in opened(one["url"], self._read(one["url"])).splitlines())
        return b"".join(self._row(json.loads(line), columns) for line in lines)

    @staticmethod
    def _row(event: dict[str, Any], columns: list[str]) -> bytes:
        def cell(value: Any) -> str:
            if value is None:
                return ""
            text = value if isinstance(value, str) else json.dumps(value)
            return '"' + text.replace('"', '""') + '"'

        return (",".join(cell(event.get(name)) for name in columns) + "\n").encode()


class _Session:
    """One connection of a client, and its connection to the real server."""

    def __init__(
        self,
        shim: RedshiftShim,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        self._shim, self._reader, self._writer, self._there, self._back = shim, reader, writer, there, back
        self._rows: Iterator[bytes] = iter(())
        self._cut_at_end = False

    async def upwards(self) -> None:
        while True:  # the first message, behind questions for encryption
            head = await self._reader.readexactly(8)
            size, code = struct.unpack("!ii", head)
            if code not in (SSL_REQUEST, GSS_REQUEST):
                break
            self._writer.write(b"N")
        self._back.write(head + await self._reader.readexactly(size - 8))
        while True:
            kind, body = await _message(self._reader)
            if kind == b"Q":
                cut = self._shim.cut(body)
                if cut == "before":
                    return
                self._cut_at_end = cut == "after"
                if match := COPY.search(body):
                    body = self._copied(match)
            self._back.write(_packed(kind, body))

    def _copied(self, match: re.Match[bytes]) -> bytes:
        """The statement for the real server; the rows are sent when it asks for them."""
        self._shim.copies += 1
        columns = [name.strip().strip('"') for name in match[2].decode().split(",")]
        try:
            rows = self._shim.rows(match[3].decode(), columns)
        except KeyError as exc:
            return f"DO $x$ BEGIN RAISE EXCEPTION 'The specified S3 key does not exist: {exc}'; END $x$\0".encode()
        self._rows = iter((rows,))
        return b"COPY " + match[1] + b" (" + match[2] + b") FROM STDIN WITH (FORMAT csv)\0"

    async def downwards(self) -> None:
        while True:
            kind, body = await _message(self._there)
            if kind == b"G":
                self._back.write(_packed(b"d", next(self._rows)) + _packed(b"c", b""))
                continue
            if self._cut_at_end and kind == b"Z":
                return
            if not self._cut_at_end:
                self._writer.write(_packed(kind, body))


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body

"""BodyReader: bodies of requests, read and decompressed within limits of size, memory and time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from dpiped.compression import DamagedError, TooLargeError, UnknownEncodingError, decompress
from dpiped.web.refused import Refused

THREAD_FROM_BYTES = 128 << 10
"""Larger bodies are decompressed in a thread: beside the event loop, which they would hold."""
MOST_ENCODINGS = 4
"""So many names in one `Content-Encoding`; each costs a pass over the body."""


class Hold:
    """What one request adds to the bytes in flight, from the first that arrives until it is answered."""

    __slots__ = ("_owner", "_size")

    def __init__(self, owner: BodyReader) -> None:
        self._owner = owner
        self._size = 0

    def add(self, size: int) -> None:
        self._size += size
        self._owner.in_flight += size

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *exc: object) -> None:
        self._owner.in_flight -= self._size


class BodyReader:
    """One for each listener. Bodies are held within `with reader.hold() as hold`, as long as anything needs them.

    Args:
        max_bytes: of one body, as sent and when decompressed.
        max_in_flight_bytes: of all bodies that are held.
        request_secs: in which a whole body has to arrive.
    """

    def __init__(self, max_bytes: int, max_in_flight_bytes: int, request_secs: float) -> None:
        self._max_bytes = max_bytes
        self._max_in_flight_bytes = max_in_flight_bytes
        self._request_secs = request_secs
        self.in_flight = 0
        """Bytes held now."""

    def hold(self) -> Hold:
        return Hold(self)

    async def read(self, request: web.BaseRequest, hold: Hold) -> bytes:
        """The body as it was sent. Raises Refused: 413, 408, 501, 503."""
        coding = request.headers.get("Transfer-Encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            reason = "Transfer-Encoding can only be chunked: compressed bodies are told by Content-Encoding"
            raise Refused(501, reason, Connection="close")
        length = request.content_length
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        if self.in_flight > self._max_in_flight_bytes:
            raise Refused(503, "too many requests in flight", **{"Retry-After": "1"})
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.content.is_eof() and request.content.exception() is None:  # it is all there, as with small bodies
            data = request.content.read_nowait()
            hold.add(len(data))
            return data
        try:
            async with asyncio.timeout(self._request_secs):
                return await self._read_pieces(request, hold)
        except TimeoutError as exc:
            raise Refused(408, "the request took too long to arrive", Connection="close") from exc
        except (web.RequestPayloadError, ConnectionError) as exc:
            raise Refused(400, "the body broke off", Connection="close") from exc

    async def _read_pieces(self, request: web.BaseRequest, hold: Hold) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
            hold.add(len(piece))
            if size > self._max_bytes:
                raise self._too_large()
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body has more than {self._max_bytes} bytes", Connection="close")

    async def decompress(self, encoding: str, raw: bytes, hold: Hold) -> bytes:
        """What the body stands for. Raises Refused: 413, 415, 422."""
        names = encoding.split(",")
        if len(names) > MOST_ENCODINGS:
            raise Refused(415, f"more than {MOST_ENCODINGS} content encodings")
        try:
            for name in reversed(names):
                if len(raw) >= THREAD_FROM_BYTES and name:
                    data = await asyncio.to_thread(decompress, name, raw, self._max_bytes)
                else:
                    data = decompress(name, raw, self._max_bytes)
                hold.add(len(data) if data is not raw else 0)
                raw = data
        except UnknownEncodingError as exc:
            raise Refused(415, str(exc)) from exc
        except TooLargeError as exc:
            raise Refused(413, str(exc)) from exc
        except DamagedError as exc:
            raise Refused(422, str(exc)) from exc
        return raw

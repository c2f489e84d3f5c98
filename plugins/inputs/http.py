"""Input `http`: takes events by POST or PUT from anything that speaks HTTP.

    POST /ingest/{project}/{ident}?codec=json|als|raw|..&source=FILE     events in any form the codec reads
    POST /ingest                                                         frames of `application/x-dpipe`
    GET or HEAD on either                                                a probe: 200

Delivery: 2xx means durable in the journal. With `X-Dpipe-Batch: STREAM/SEQ/NONCE` a repeated batch is recognised and
not stored again; without it a batch that is sent again because its answer got lost is stored twice.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from aiohttp import web
from pydantic import Field, SecretStr

from dpiped.api import (
    CONTENT_TYPE,
    BatchConflictError,
    BatchId,
    Bytes,
    Codec,
    CodecError,
    DamagedError,
    Emit,
    FrameError,
    Input,
    Listen,
    PluginConfig,
    Receipt,
    TooLargeError,
    UnavailableError,
    UnknownEncodingError,
    decompress,
    is_ident,
    is_name,
    iter_frames,
    register,
    split_listen,
)

_BATCH = re.compile(r"([A-Za-z0-9._~:@+-]{1,200})/([0-9]{1,18})(?:/([A-Za-z0-9._~+=-]{0,100}))?")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,1024}")
"""Bytes that are not UTF-8 arrive as lone surrogates."""
_encode = msgspec.json.Encoder().encode
SHUTDOWN_SECS = 3.0
"""What requests get to end at a stop; the runner allows 5 s for all of `close`."""
THREAD_FROM_BYTES = 128 << 10
"""Larger bodies are decompressed in a thread: beside the event loop, which they would hold."""


class HttpConfig(PluginConfig):
    listen: Listen = "127.0.0.1:9800"
    """Address to bind; one that is not loopback needs `tokens`, or tokens of every project."""
    tokens: tuple[SecretStr, ...] = ()
    """Bearer tokens that open all projects; several, so that they can be changed one by one. Write them as
    `${env:NAME}`.
    """
    max_body_bytes: Annotated[Bytes, Field(gt=0)] = 16 << 20
    """Largest body, as sent and when decompressed; a larger one is answered 413."""
    max_in_flight_bytes: Annotated[Bytes, Field(gt=0)] = 128 << 20
    """Bodies being read or waiting for the disk at one time; above it requests are answered 503."""
    max_connections: Annotated[int, Field(gt=0)] = 4_000
    """With more connections than these, requests are answered 503 and their connections closed."""
    request_secs: Annotated[float, Field(gt=0)] = 60.0
    """Time in which a whole request has to arrive; slower ones are answered 408."""
    idle_secs: Annotated[float, Field(gt=0)] = 75.0
    """A connection without a complete request head for so long is closed."""


class Refused(Exception):
    """The request gets this answer."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Place:
    """What path and query of a request mean."""

    is_frames: bool
    project: str = ""
    ident: str = ""
    source: str = ""
    codec: Codec | None = None


FRAMES_PLACE = Place(is_frames=True)
MOST_PLACES = 10_000
"""So many paths are remembered; a sender can invent idents without end."""


class _Hold:
    """What one request adds to the bytes in flight, from the first that arrives until it is answered."""

    __slots__ = ("_input", "_size")

    def __init__(self, owner: HttpInput) -> None:
        self._input = owner
        self._size = 0

    def add(self, size: int) -> None:
        self._size += size
        self._input.in_flight += size

    def release(self) -> None:
        self._input.in_flight -= self._size


@register("http")
class HttpInput(Input[HttpConfig]):
    default_codec = "json"

    async def open(self) -> None:
        host, port = split_listen(self.config.listen)
        self._emit: Emit
        self.in_flight = 0
        self._crowded = False
        self._last_seen: dict[Any, float] = {}
        self._tokens = [token.get_secret_value().encode() for token in self.config.tokens]
        self._protected = bool(self._tokens) or any(self.context.projects.values())
        self._places: dict[str, Place] = {}
        self._ready = asyncio.Event()
        self._server = web.Server(
            self._answer,
            access_log=None,
            read_bufsize=1 << 20,
            auto_decompress=False,
            keepalive_timeout=self.config.idle_secs,
        )
        self._runner = web.ServerRunner(self._server, handle_signals=False, shutdown_timeout=SHUTDOWN_SECS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024, reuse_address=True)
        await site.start()
        self._address = _address(self._runner.addresses)

    def status(self) -> dict[str, object]:
        return {
            "address": self._address,
            "connections": len(self._server.connections),
            "in_flight_bytes": self.in_flight,
        }

    async def run(self, emit: Emit) -> None:
        self._emit = emit
        self._ready.set()
        while True:
            await asyncio.sleep(min(1.0, self.config.idle_secs / 4))
            self._crowded = len(self._server.connections) > self.config.max_connections
            self._close_idle()

    def _close_idle(self) -> None:
        """Closes connections that have sent no whole request head for too long, and forgets closed ones."""
        now = time.monotonic()
        here = set(self._server.connections)
        for connection in here:
            since = self._last_seen.setdefault(connection, now)
            if now - since > self.config.idle_secs:
                connection.force_close()
                if connection.transport is not None:
                    connection.transport.close()
        self._last_seen = {connection: since for connection, since in self._last_seen.items() if connection in here}

    async def close(self) -> None:
        if hasattr(self, "_runner"):
            await self._runner.cleanup()

    # ---- one request -----------------------------------------------------------------------------------------------
    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._last_seen[request.protocol] = float("inf")
        try:
            return await self._handle(request)
        except Refused as exc:
            body = _encode({"error": exc.reason})
            return web.Response(status=exc.status, body=body, content_type="application/json", headers=exc.headers)
        finally:
            self._last_seen[request.protocol] = time.monotonic()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if self._crowded:
            raise Refused(503, "too many connections", **{"Retry-After": "5", "Connection": "close"})
        place = self._places.get(request.raw_path) or self._find_place(request)
        if request.method in ("GET", "HEAD"):
            return web.Response(body=b'{"service":"dpipe"}', content_type="application/json")
        if request.method not in ("POST", "PUT"):
            raise Refused(405, "use POST or PUT", Allow="POST, PUT, GET, HEAD")
        await self._ready.wait()
        if place.is_frames:
            return await self._take_frames(request)
        host, batch = request.headers.get("X-Dpipe-Host", ""), _batch_id(request.headers.get("X-Dpipe-Batch", ""))
        if not _PRINTABLE.fullmatch(host) or len(host) > 255:
            raise Refused(400, "X-Dpipe-Host has control characters or more than 255 characters")
        return await self._take_events(request, place, host, batch)

    async def _take_events(
        self, request: web.BaseRequest, place: Place, host: str, batch: BatchId | None
    ) -> web.Response:
        self._authorise(request, {place.project})
        encoding = request.headers.get("Content-Encoding", "")
        hold = _Hold(self)
        try:
            raw = await self._read(request, hold)
            data = await self._decompress(encoding, raw, hold)
            stored = ("zstd", raw) if encoding.strip().lower() == "zstd" else None
            receipt = await self._emit(
                data,
                project=place.project,
                ident=place.ident,
                source=place.source,
                host=host,
                codec=place.codec,
                batch=batch,
                stored=stored,
                wait=False,
            )
        except UnavailableError as exc:
            raise _unavailable(exc) from exc
        except BatchConflictError as exc:
            raise Refused(409, str(exc)) from exc
        except CodecError as exc:
            raise Refused(422, str(exc)) from exc
        finally:
            hold.release()
        return _accepted(receipt)

    async def _take_frames(self, request: web.BaseRequest) -> web.Response:
        if request.headers.get("Content-Type", "").split(";")[0].strip().lower() != CONTENT_TYPE:
            raise Refused(404, f"/ingest takes only {CONTENT_TYPE}; POST other bodies to /ingest/PROJECT/IDENT")
        if not self._is_allowed(request, self._tokens) and not self.context.projects:
            self._authorise(request, set())
        hold = _Hold(self)
        try:
            raw = await self._read(request, hold)
            data = await self._decompress(request.headers.get("Content-Encoding", ""), raw, hold)
            frames = list(iter_frames(data))
            projects = {frame.head.project for frame in frames}
            for project in projects:
                self._check_project(project)
            self._authorise(request, projects)
            receipt = await self._emit.frames(frames)
        except UnavailableError as exc:
            raise _unavailable(exc) from exc
        except BatchConflictError as exc:
            raise Refused(409, str(exc)) from exc
        except TooLargeError as exc:
            raise Refused(413, str(exc)) from exc
        except (CodecError, FrameError, DamagedError, UnknownEncodingError) as exc:
            raise Refused(422, str(exc)) from exc
        finally:
            hold.release()
        return _accepted(receipt)

    # ---- head ------------------------------------------------------------------------------------------------------
    def _find_place(self, request: web.BaseRequest) -> Place:
        """What path and query mean; remembered, since senders use the same ones again and again."""
        parts = request.rel_url.raw_path.strip("/").split("/")
        if parts[0] != "ingest" or len(parts) not in (1, 3):
            raise Refused(404, f"no such path; POST to /ingest/PROJECT/IDENT, or {CONTENT_TYPE} to /ingest")
        place = FRAMES_PLACE
        if len(parts) == 3:
            project, ident = unquote(parts[1]), unquote(parts[2])
            if not is_ident(ident):
                raise Refused(404, "no such ident; an ident is dotted parts of letters, digits, _ and -")
            self._check_project(project)
            query = request.rel_url.query
            source = query.get("source", "")
            if not _PRINTABLE.fullmatch(source):
                raise Refused(400, "source has control characters or more than 1024 characters")
            place = Place(False, project, ident, source, self._codec(query.get("codec", "")))
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        self._places[request.raw_path] = place
        return place

    def _codec(self, name: str) -> Codec | None:
        """The codec that the sender names; None: that of the config."""
        if not name or self.context.codec is None:
            return None
        try:
            return self.context.codec(name)
        except CodecError as exc:
            raise Refused(404, str(exc)) from exc

    def _check_project(self, project: str) -> None:
        if not is_name(project) or (self.context.projects and project not in self.context.projects):
            raise Refused(404, "unknown project; the daemon's config has no [[project]] of this name")

    def _authorise(self, request: web.BaseRequest, projects: set[str]) -> None:
        """401 without or with a wrong token, 403 with a token of another project."""
        if not self._protected:
            return
        if self._is_allowed(request, self._tokens):
            return
        own = [[token.encode() for token in self.context.projects.get(project, ())] for project in projects]
        if not self._tokens and not any(own):
            return  # nothing is protected
        if own and all(tokens and self._is_allowed(request, tokens) for tokens in own):
            return
        every = [token.encode() for tokens in self.context.projects.values() for token in tokens]
        if self._is_allowed(request, every):
            raise Refused(403, "this token is for another project")
        raise Refused(401, "a valid bearer token is needed", **{"WWW-Authenticate": "Bearer"})

    @staticmethod
    def _is_allowed(request: web.BaseRequest, tokens: list[bytes]) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        sent = given.strip().encode("utf-8", "surrogateescape")
        return (
            sum(hmac.compare_digest(token, sent) for token in tokens) > 0
        )  # all are compared, whatever the first says

    # ---- body ------------------------------------------------------------------------------------------------------
    async def _read(self, request: web.BaseRequest, hold: _Hold) -> bytes:
        most = self.config.max_body_bytes
        length = request.content_length
        if length is not None and length > most:
            raise Refused(413, f"the body has more than {most} bytes", Connection="close")
        if self.in_flight > self.config.max_in_flight_bytes:
            raise Refused(503, "too many requests in flight", **{"Retry-After": "1"})
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.content.is_eof():  # it is all there, as with small bodies
            data = request.content.read_nowait()
            hold.add(len(data))
            return data
        try:
            async with asyncio.timeout(self.config.request_secs):
                return await self._read_pieces(request, most, hold)
        except TimeoutError as exc:
            raise Refused(408, "the request took too long to arrive", Connection="close") from exc

    @staticmethod
    async def _read_pieces(request: web.BaseRequest, most: int, hold: _Hold) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
            hold.add(len(piece))
            if size > most:
                raise Refused(413, f"the body has more than {most} bytes", Connection="close")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _decompress(self, encoding: str, raw: bytes, hold: _Hold) -> bytes:
        most = self.config.max_body_bytes
        try:
            for name in reversed(encoding.split(",")):
                if len(raw) >= THREAD_FROM_BYTES and name:
                    data = await asyncio.to_thread(decompress, name, raw, most)
                else:
                    data = decompress(name, raw, most)
                hold.add(len(data) if data is not raw else 0)
                raw = data
        except UnknownEncodingError as exc:
            raise Refused(415, str(exc)) from exc
        except TooLargeError as exc:
            raise Refused(413, str(exc)) from exc
        except DamagedError as exc:
            raise Refused(422, str(exc)) from exc
        return raw


def _batch_id(text: str) -> BatchId | None:
    if not text:
        return None
    match = _BATCH.fullmatch(text)
    if match is None:
        raise Refused(400, "X-Dpipe-Batch is not STREAM/SEQ or STREAM/SEQ/NONCE")
    return BatchId(match[1], int(match[2]), match[3] or "")


def _unavailable(exc: UnavailableError) -> Refused:
    return Refused(503, str(exc), **{"Retry-After": f"{max(1, round(exc.retry_after_secs))}"})


def _accepted(receipt: Receipt) -> web.Response:
    answer: dict[str, object] = {
        "accepted": receipt.accepted,
        "rejected": receipt.rejected,
        "errors": [{"line": line, "reason": reason} for line, reason in receipt.errors],
    }
    if receipt.duplicate:
        answer["duplicate"] = True
    status = 422 if receipt.rejected and not receipt.accepted else 200
    return web.Response(status=status, body=_encode(answer), content_type="application/json")


def _address(addresses: list[Any]) -> str:
    host, port = addresses[0][:2]
    return f"{host}:{port}"

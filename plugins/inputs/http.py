"""Input `http`: takes events by POST or PUT from anything that speaks HTTP.

    POST /ingest/{project}/{ident}?codec=json|als|raw|..&source=FILE     events in any form the codec reads
    POST /ingest                                                         frames of `application/x-dpipe`
    GET or HEAD on either                                                a probe: 200

Delivery: 2xx means durable in the journal. With `X-Dpipe-Batch: STREAM/SEQ/NONCE` a repeated batch is recognised and
not stored again (STREAM is the project's own); without it a batch that is sent again because its answer got lost is
stored twice.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from aiohttp import web
from pydantic import Field

from dpiped.api import (
    CONTENT_TYPE,
    NO_PROJECT,
    SERVER_EXAMPLE,
    BatchConflictError,
    BatchId,
    BodyReader,
    Bytes,
    CodecError,
    DamagedError,
    Emit,
    FatalPluginError,
    Frame,
    FrameError,
    HttpListener,
    Input,
    Listen,
    Place,
    Places,
    PluginConfig,
    PositiveSecs,
    Receipt,
    Refused,
    ServerTls,
    TlsError,
    Token,
    Tokens,
    TooLargeError,
    UnavailableError,
    UnknownEncodingError,
    batch_of,
    host_of,
    iter_frames,
    register,
    stranger_logger,
    unavailable,
)

_encode = msgspec.json.Encoder().encode
SHUTDOWN_SECS = 3.0
"""What requests get to end at a stop; the runner allows 5 s for all of `close`."""
CUT_SECS = 0.5
"""And what they get when they are cut off."""
FRAMES_AT_ONCE = 500


class HttpConfig(PluginConfig):
    listen: Listen = "127.0.0.1:9800"
    """Address to bind; one that is not loopback needs `tokens`, tokens of every project, or `client_ca` in `tls`."""
    tokens: tuple[Token, ...] = ()
    """Bearer tokens that open all projects; several, so that they can be changed one by one. Write them as
    `${env:NAME}`.
    """
    tls: ServerTls | None = Field(default=None, examples=[SERVER_EXAMPLE])
    """Certificate of this address; with it, only https is spoken."""
    max_body_bytes: Annotated[Bytes, Field(gt=0)] = 16 << 20
    """Largest body, as sent and when decompressed; a larger one is answered 413."""
    max_in_flight_bytes: Annotated[Bytes, Field(gt=0)] = 128 << 20
    """Bodies being read or waiting for the disk at one time; above it requests are answered 503."""
    max_connections: Annotated[int, Field(gt=0)] = 4_000
    """A connection above it is answered 503 and closed."""
    request_secs: PositiveSecs = 60.0
    """Time in which a whole request has to arrive; slower ones are answered 408."""
    idle_secs: PositiveSecs = 75.0
    """A connection without a complete request head for so long is closed."""


@register("http")
class HttpInput(Input[HttpConfig]):
    default_codec = "json"
    emits_whole = True

    async def open(self) -> None:
        config, projects = self.config, self.context.projects
        self._emit: Emit
        self._ready = asyncio.Event()
        self._bodies = BodyReader(config.max_body_bytes, config.max_in_flight_bytes, config.request_secs)
        self._tokens = Tokens((token.get_secret_value() for token in config.tokens), projects)
        self._places = Places(projects, self.context.codec)
        server = web.Server(
            self._answer,
            access_log=None,
            logger=stranger_logger(self._note),
            read_bufsize=1 << 20,
            auto_decompress=False,
            keepalive_timeout=config.idle_secs,
        )
        self._listener = HttpListener(
            web.ServerRunner(server, handle_signals=False, shutdown_timeout=CUT_SECS),
            config.listen,
            config.tls,
            max_connections=config.max_connections,
            idle_secs=config.idle_secs,
            telemetry=self.context.telemetry,
            name=self.context.name,
            half_open=True,
        )
        try:
            await self._listener.open()
        except TlsError as exc:
            raise FatalPluginError(str(exc)) from exc

    def _note(self, what: str) -> None:
        self.context.telemetry.metrics.noted.labels(self.context.name, what).inc()

    def status(self) -> dict[str, object]:
        return {
            "address": self._listener.address,
            "connections": self._listener.connections,
            "in_flight_bytes": self._bodies.in_flight,
        }

    async def run(self, emit: Emit) -> None:
        self._emit = emit
        self._ready.set()
        await self._listener.sweep()

    def renew(self) -> bool:
        return not hasattr(self, "_listener") or self._listener.renew()

    async def close(self) -> None:
        if hasattr(self, "_listener"):
            await self._listener.close(SHUTDOWN_SECS)

    # ---- one request -----------------------------------------------------------------------------------------------
    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._listener.answering(request):
            try:
                answer: web.StreamResponse = await self._handle(request)
            except Refused as exc:
                answer = exc.answer()
        if self._listener.closing:
            answer.force_close()
        return answer

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        place = self._places.find(request)
        if request.method in ("GET", "HEAD"):
            return web.Response(body=b'{"service":"dpipe"}', content_type="application/json")
        if request.method not in ("POST", "PUT"):
            raise Refused(405, "use POST or PUT", Allow="POST, PUT, GET, HEAD")
        await self._ready.wait()
        try:
            if place.is_frames:
                return _accepted(await self._take_frames(request))
            return _accepted(
                await self._take_events(request, place, host_of(request), batch_of(request, place.project))
            )
        except UnavailableError as exc:
            raise unavailable(exc) from exc
        except BatchConflictError as exc:
            raise Refused(409, str(exc)) from exc

    async def _take_events(self, request: web.BaseRequest, place: Place, host: str, batch: BatchId | None) -> Receipt:
        self._tokens.check(request, {place.project})
        encoding = request.headers.get("Content-Encoding", "")
        with self._bodies.hold() as hold:
            raw = await self._bodies.read(request, hold)
            data = await self._bodies.decompress(encoding, raw, hold)
            stored = ("zstd", raw) if encoding.strip().lower() == "zstd" else None
            try:
                return await self._emit(
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
            except CodecError as exc:
                raise Refused(422, str(exc)) from exc

    async def _take_frames(self, request: web.BaseRequest) -> Receipt:
        if request.headers.get("Content-Type", "").split(";")[0].strip().lower() != CONTENT_TYPE:
            raise Refused(404, f"/ingest takes only {CONTENT_TYPE}; POST other bodies to /ingest/PROJECT/IDENT")
        self._tokens.check_any(request)
        with self._bodies.hold() as hold:
            raw = await self._bodies.read(request, hold)
            data = await self._bodies.decompress(request.headers.get("Content-Encoding", ""), raw, hold)
            try:
                frames = await _split(data)
                projects = {frame.head.project for frame in frames}
                for project in projects - {NO_PROJECT}:
                    self._places.check_project(project)
                self._tokens.check(request, projects)
                for codec in {frame.head.codec for frame in frames}:
                    self._places.check_frame_codec(codec)
                return await self._emit.frames(frames)
            except TooLargeError as exc:
                raise Refused(413, str(exc)) from exc
            except (CodecError, FrameError, DamagedError, UnknownEncodingError) as exc:
                raise Refused(422, str(exc)) from exc


async def _split(data: bytes) -> list[Frame]:
    """The frames of a body; others on the event loop have their turn between them. Raises FrameError."""
    frames = []
    for frame in iter_frames(data):
        frames.append(frame)
        if len(frames) % FRAMES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return frames


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

"""The admin API: what the daemon is doing, as JSON, Prometheus text and probes.

    GET  /admin/ping stat plugins pools uris graph     read
    POST /admin/reload shutdown                        need the admin token when one is set
    /admin/deadletters                                 the same, see deadletters.py
    /api/aggregates, /api/alarms, /api/openapi.json    answers, see answers.py and alarms.py
    /api/behavior, /api/funnel                         what users did, see behavior.py
    GET  /metrics /healthz /readyz

HEAD is answered wherever GET is, without the body.
It listens on loopback unless there is a token or `client_ca` (checked before the start). On another address all but the
probes need the token. Without a token events are shown only to who asks a loopback name (`Host`). No answer shows a
secret, whatever the answer is made of.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import psutil
from aiohttp import web

from dpiped import __version__
from dpiped.config.base import is_loopback, split_listen
from dpiped.config.doors import admin_tokens
from dpiped.config.draw import draw_mermaid
from dpiped.errors import ConfigError
from dpiped.hidden import blot
from dpiped.registry import all_types
from dpiped.reload import reload_file
from dpiped.web.alarms import alarm_routes
from dpiped.web.answers import answer_routes
from dpiped.web.behavior import behavior_routes
from dpiped.web.deadletters import PRIVATE, deadletter_uris
from dpiped.web.listener import HttpListener
from dpiped.web.openapi import describe
from dpiped.web.refused import Refused
from dpiped.web.strangers import stranger_logger
from dpiped.web.tokens import shows_one_of

if TYPE_CHECKING:
    from dpiped.engine import Engine

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MAX_BODY_BYTES = 64 << 10


MAX_CONNECTIONS = 256
IDLE_SECS = 75.0
SHUTDOWN_SECS = 5.0
BODY_SECS = 10.0
"""Time in which a body has to arrive."""
PROBES = ("/healthz", "/readyz")
"""Open to everybody who reaches the address."""


def _json(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    text = msgspec.json.format(msgspec.json.encode(data), indent=2).decode()
    return web.Response(status=status, text=blot(text) + "\n", content_type="application/json", headers=headers)


class AdminServer:
    """`start` binds, `close` stops. Port 0 takes a free one; `address` is the real one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        config = engine.config.engine
        self._is_open = not is_loopback(split_listen(config.admin)[0])
        """Whether other machines reach it."""
        self._tokens = [token.encode() for token in admin_tokens(config)]
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[self._guard])
        self._uris = {
            "/admin/ping": ("GET", self._ping),
            "/admin/stat": ("GET", self._stat),
            "/admin/plugins": ("GET", self._plugins),
            "/admin/pools": ("GET", self._pools),
            "/admin/uris": ("GET", self._list_uris),
            "/admin/graph": ("GET", self._graph),
            "/admin/reload": ("POST", self._reload),
            "/admin/shutdown": ("POST", self._shutdown),
            **deadletter_uris(engine),
            "/metrics": ("GET", self._metrics),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/api/openapi.json": ("GET", self._openapi),
        }
        self._routes = [*answer_routes(engine), *alarm_routes(engine), *behavior_routes(engine)]
        for path, (method, handler) in self._uris.items():
            _add_route(app, method, path, handler)
        for route in self._routes:
            _add_route(app, route.method, route.path, route.handler)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=stranger_logger(self._note),
            handle_signals=False,
            auto_decompress=False,
            shutdown_timeout=SHUTDOWN_SECS,
            keepalive_timeout=IDLE_SECS,
        )
        self._listener = HttpListener(
            runner,
            config.admin,
            config.admin_tls,
            max_connections=MAX_CONNECTIONS,
            idle_secs=IDLE_SECS,
            telemetry=engine.telemetry,
            name="admin",
        )
        self._sweeping: asyncio.Task[None] | None = None

    def _note(self, what: str) -> None:
        self._engine.telemetry.metrics.noted.labels("admin", what).inc()

    @property
    def address(self) -> str:
        """The real one; empty before `start`."""
        return self._listener.address

    async def start(self) -> None:
        """Raises OSError when the address cannot be bound, TlsError when the certificate cannot be used."""
        await self._listener.open()
        self._sweeping = asyncio.create_task(self._listener.sweep(), name="admin sweep")

    async def renew(self) -> None:
        """At each reload: takes the files of TLS again. Raises TlsError, and goes on with what it has."""
        if not self._listener.renew():
            await self._listener.bind_again()

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))
        await self._listener.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Asks for the token, keeps web pages out, and answers errors as JSON."""
        with self._listener.answering(request):
            changes = request.method not in ("GET", "HEAD")
            private = changes or _shows_events(request.path) or (self._is_open and request.path not in PROBES)
            if private and not self._is_allowed(request):
                return _json({"error": "a valid admin token is needed"}, 401)
            if _shows_events(request.path) and not self._tokens and not self._is_asked_by_its_name(request):
                return _json({"error": "no such host here; another name than localhost needs an admin_token"}, 403)
            if changes and not self._tokens and self._is_of_a_page(request):
                return _json({"error": "requests of web pages change nothing here"}, 403)
            try:
                await _read_body(request)
                return await handler(request)
            except Refused as exc:
                return _json({"error": exc.reason}, exc.status, exc.headers)
            except web.HTTPException as exc:
                allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else None
                return _json({"error": exc.reason, "uris": "/admin/uris lists all paths"}, exc.status, allow)

    def _is_allowed(self, request: web.Request) -> bool:
        return not self._tokens or shows_one_of(request, self._tokens)

    def _is_of_a_page(self, request: web.Request) -> bool:
        """Whether a browser sends it for a page from elsewhere: browsers reach loopback addresses, too, and any name
        can be made to mean one.
        """
        origin = request.headers.get("Origin")
        if origin is None:
            return False
        try:
            name = urlsplit(f"//{request.host}").hostname or ""
            return urlsplit(origin).netloc != request.host or not (self._is_open or is_loopback(name))
        except ValueError:  # no browser writes such a header
            return True

    def _is_asked_by_its_name(self, request: web.Request) -> bool:
        """Whether `Host`, if there is one, is a name of loopback or of `[engine] admin`: a page whose own name was made
        to mean loopback is of the same origin to the browser, and would read all answers.
        """
        asked = request.headers.get("Host")
        if asked is None or self._is_open:  # no browser; open to all who are let in by certificate
            return True
        try:
            name = urlsplit(f"//{asked}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name) or name == split_listen(self._engine.config.engine.admin)[0].lower()

    # ---- read ------------------------------------------------------------------------------------------------------
    async def _ping(self, request: web.Request) -> web.Response:
        return _json({"pong": True, "version": __version__})

    async def _stat(self, request: web.Request) -> web.Response:
        engine, process = self._engine, psutil.Process()
        journal = engine.journal
        return _json(
            {
                "version": __version__,
                "pid": os.getpid(),
                "host": platform.node(),
                "python": platform.python_version(),
                "uptime_secs": round(time.time() - engine.started_at, 1),
                "admin": self.address,
                "memory_bytes": process.memory_info().rss,
                "cpu_secs": round(sum(process.cpu_times()[:2]), 2),
                "journal": {
                    "type": engine.config.journal.type,
                    "epoch": journal.epoch,
                    "next": journal.next,
                    "first": journal.storage.first(),
                    "bytes": journal.storage.used_bytes,
                    "full": journal.room.full,
                    "failing": journal.room.failing,
                },
                "deadletters": {"count": engine.around.deadletters.count, "bytes": engine.around.deadletters.bytes},
                "losses": list(engine.telemetry.losses),
                "plugins": engine.report(),
            }
        )

    async def _plugins(self, request: web.Request) -> web.Response:
        types = await asyncio.to_thread(all_types)  # imports those that no config has asked for
        return _json(
            {
                "types": [
                    {"kind": kind, "type": name, "about": _first_line(cls)} for (kind, name), cls in types.items()
                ],
                "running": self._engine.report(),
            }
        )

    async def _pools(self, request: web.Request) -> web.Response:
        pool = self._engine.pool
        held = [
            {"offset": pack.head.offset, "ident": pack.head.ident, "holder": holder, "secs": round(secs, 1)}
            for pack, holder, secs in pool.held_since(1.0)
        ]
        return _json(
            {"packs": pool.in_use, "bytes": pool.bytes, "budget_bytes": pool.budget_bytes, "held": held[:1000]}
        )

    async def _list_uris(self, request: web.Request) -> web.Response:
        uris = [(method, path) for path, (method, _) in self._uris.items()]
        uris += [(route.method, route.path) for route in self._routes]
        return _json([{"method": method, "path": path} for method, path in uris])

    async def _openapi(self, request: web.Request) -> web.Response:
        return _json(describe(self._routes))

    async def _graph(self, request: web.Request) -> web.Response:
        return web.Response(text=blot(draw_mermaid(self._engine.config)), content_type="text/plain")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=blot(self._engine.telemetry.metrics.text().decode()).encode(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _healthz(self, request: web.Request) -> web.Response:
        return _json({"ok": True})

    async def _readyz(self, request: web.Request) -> web.Response:
        """200 when inputs are taken; the reasons otherwise. What was lost is told, and keeps nobody from sending."""
        engine = self._engine
        problems = [f"{line['name']}: {line['last_error']}" for line in engine.report() if line["status"] == "failed"]
        if not engine.started.is_set():
            problems.append("starting")
        if engine.stopping.is_set():
            problems.append("stopping")
        problems += engine.journal.room.problems
        losses = list(engine.telemetry.losses)
        answer: dict[str, object] = {"ready": not problems, "problems": problems, "losses": losses}
        if self._is_open and not self._is_allowed(request):
            del answer["problems"], answer["losses"]  # they name plugins, hosts and paths
        return _json(answer, 503 if problems else 200)

    # ---- change ----------------------------------------------------------------------------------------------------
    async def _reload(self, request: web.Request) -> web.Response:
        try:
            return _json({"changes": await reload_file(self._engine)})
        except ConfigError as exc:
            return _json({"error": "the old config stays", "problems": exc.problems}, 422)

    async def _shutdown(self, request: web.Request) -> web.Response:
        self._engine.stop()
        return _json({"stopping": True})


def _add_route(app: web.Application, method: str, path: str, handler: Handler) -> None:
    """What answers GET answers HEAD too: probes ask so."""
    app.router.add_route(method, path, handler)
    if method == "GET":
        app.router.add_route("HEAD", path, handler)


def _shows_events(path: str) -> bool:
    """Whether answers show what was in events, so that reading them needs the token as well."""
    return path in PRIVATE or path.startswith(("/api/aggregates", "/api/alarms", "/api/behavior", "/api/funnel"))


async def _read_body(request: web.Request) -> None:
    """Before any handler, so that none has to think of it; the body stays with the request. Raises Refused."""
    try:
        async with asyncio.timeout(BODY_SECS):
            await request.read()
    except TimeoutError as exc:
        raise Refused(408, "the request took too long to arrive") from exc
    except (web.RequestPayloadError, ConnectionError) as exc:
        raise Refused(400, "the body broke off") from exc


def _first_line(cls: type) -> str:
    """What the module of a plugin says first of itself."""
    doc = sys.modules[cls.__module__].__doc__ or ""
    return doc.strip().splitlines()[0] if doc else ""

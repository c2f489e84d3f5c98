"""The admin API: what the daemon is doing, as JSON, Prometheus text and probes.

    GET  /admin/ping stat plugins pools uris graph     read
    POST /admin/reload shutdown                        need the admin token when one is set
    GET  /metrics /healthz /readyz

It listens on loopback unless a token is set (checked before the start).
"""

from __future__ import annotations

import hmac
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import psutil
from aiohttp import web

from dpiped import __version__
from dpiped.config.base import split_listen
from dpiped.config.draw import draw_mermaid
from dpiped.errors import ConfigError
from dpiped.registry import all_types
from dpiped.reload import reload_file

if TYPE_CHECKING:
    from dpiped.engine import Engine

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MAX_BODY_BYTES = 64 << 10


def _json(data: object, status: int = 200) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json")


class AdminServer:
    """`start` binds, `close` stops. Port 0 takes a free one; `address` is the real one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.address = ""
        token = engine.config.engine.admin_token
        self._token = token.get_secret_value().encode() if token is not None else None
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
            "/metrics": ("GET", self._metrics),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
        }
        for path, (method, handler) in self._uris.items():
            app.router.add_route(method, path, handler)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        """Raises OSError when the address cannot be bound."""
        host, port = split_listen(self._engine.config.engine.admin)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound = self._runner.addresses[0]
        self.address = f"{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Asks for the token where something is changed, and answers errors as JSON."""
        if request.method not in ("GET", "HEAD") and self._token is not None:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, self._token):
                return _json({"error": "a valid admin token is needed"}, 401)
        try:
            return await handler(request)
        except web.HTTPException as exc:
            return _json({"error": exc.reason, "uris": "/admin/uris lists all paths"}, exc.status)

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
                    "full": journal.full,
                    "failing": journal.failing,
                },
                "deadletters": {"count": engine.around.deadletters.count, "bytes": engine.around.deadletters.bytes},
                "losses": list(engine.telemetry.losses),
                "plugins": engine.report(),
            }
        )

    async def _plugins(self, request: web.Request) -> web.Response:
        return _json(
            {
                "types": [
                    {"kind": kind, "type": name, "about": _first_line(cls)} for (kind, name), cls in all_types().items()
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
        return _json([{"method": method, "path": path} for path, (method, _) in self._uris.items()])

    async def _graph(self, request: web.Request) -> web.Response:
        return web.Response(text=draw_mermaid(self._engine.config), content_type="text/plain")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._engine.telemetry.metrics.text(),
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
        if engine.journal.failing:
            problems.append(f"journal: {engine.journal.failing}")
        if engine.journal.full:
            problems.append("journal: full")
        answer = {"ready": not problems, "problems": problems, "losses": list(engine.telemetry.losses)}
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


def _first_line(cls: type) -> str:
    """What the module of a plugin says first of itself."""
    doc = sys.modules[cls.__module__].__doc__ or ""
    return doc.strip().splitlines()[0] if doc else ""

"""The admin API of dead letters.

GET  /admin/deadletters?plugin=&ident=&project=&since=&text=&cause=&limit=    they show events: the token is needed
POST /admin/deadletters/retry drop    a JSON object: the same keys, `causes` a list, or `"all": true`
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from dpiped.errors import DpipeError, UnavailableError
from dpiped.leveldb import LevelDbError
from dpiped.selection import Selection, listing, selection_of

if TYPE_CHECKING:
    from dpiped.engine import Engine

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PRIVATE = ("/admin/deadletters",)
"""Paths that show events, so that reading them needs the token as well."""
DEFAULT_LIMIT, MOST = 100, 1_000


def deadletter_uris(engine: Engine) -> dict[str, tuple[str, Handler]]:
    """Path -> (method, handler)."""

    async def ls(request: web.Request) -> web.Response:
        return await answer(_listing(engine, request))

    async def retry(request: web.Request) -> web.Response:
        return await answer(_retry(engine, await request.read()))

    async def drop(request: web.Request) -> web.Response:
        return await answer(_drop(engine, await request.read()))

    return {
        "/admin/deadletters": ("GET", ls),
        "/admin/deadletters/retry": ("POST", retry),
        "/admin/deadletters/drop": ("POST", drop),
    }


async def answer(work: Awaitable[object]) -> web.Response:
    """200 and what it gives; 422 for a question that cannot be read, 503 when it may work later."""
    try:
        data, status = await work, 200
    except (UnavailableError, LevelDbError) as exc:
        data, status = {"error": str(exc)}, 503
    except DpipeError as exc:
        data, status = {"error": str(exc)}, 422
    body = await asyncio.to_thread(msgspec.json.encode, data)
    return web.Response(status=status, body=body + b"\n", content_type="application/json")


async def _listing(engine: Engine, request: web.Request) -> object:
    fields: dict[str, Any] = {name: value for name, value in request.query.items() if name not in ("cause", "limit")}
    chosen = selection_of({**fields, "causes": request.query.getall("cause", [])})
    limit = request.query.get("limit", str(DEFAULT_LIMIT))
    if not limit.isascii() or not limit.isdigit() or not 0 < int(limit) <= MOST:
        raise DpipeError(f"limit {limit!r}: expected a number from 1 to {MOST}")
    letters, now_ms = engine.around.deadletters, int(time.time() * 1000)
    return await asyncio.to_thread(listing, letters, chosen, now_ms, int(limit))


async def _retry(engine: Engine, body: bytes) -> object:
    told = await engine.retrier.retry(_chosen(body))
    return {"sent": told.sent, "stay": told.refused.total(), "reasons": dict(told.refused.most_common(20))}


async def _drop(engine: Engine, body: bytes) -> object:
    chosen, letters, now_ms = _chosen(body), engine.around.deadletters, int(time.time() * 1000)
    causes = await asyncio.to_thread(lambda: [letter.cause for letter in chosen.find(letters, now_ms)])
    return {"dropped": await letters.drop(causes)}


def _chosen(body: bytes) -> Selection:
    try:
        chosen = selection_of(msgspec.json.decode(body, type=dict[str, Any]))
    except msgspec.DecodeError as exc:
        raise DpipeError(f"expected a JSON object: {exc}") from exc
    if chosen.is_empty:
        raise DpipeError("say which letters: causes, plugin, ident, project, since or text, or all")
    return chosen

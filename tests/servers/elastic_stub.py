"""A stub that answers `_bulk` as Elasticsearch does, in this process, and misbehaves when told to.

It also answers what the test node of the real server lacks: lifecycle policies, rights, credentials.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

CREATED = {"status": 201}


class ElasticStub:
    """Documents by index and id, and what was put."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, dict[str, Any]]] = {}
        self.put: dict[str, Any] = {}
        """Path -> what was last put there."""
        self.bodies: list[int] = []
        """Size of each bulk request that arrived."""
        self.at_once = 0
        """Most bulk requests at the same time."""
        self.most_bytes = 100 << 20
        self.authorization = ""
        """What requests must show; empty: nothing."""
        self.rights = True
        self.item: Callable[[str, dict[str, Any]], tuple[int, str] | None] = lambda identity, event: None
        """(status, type of error) for an event, or None to store it."""
        self.answers: list[int | str] = []
        """What the next bulk requests get instead: a status, "lost" (stored, and the connection breaks) or "empty" (an
        object that says nothing).
        """
        self._now = 0
        self.url = ""

    @property
    def count(self) -> int:
        return sum(map(len, self.documents.values()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ElasticStub]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._any)
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _any(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.authorization and request.headers.get("Authorization") != self.authorization:
            return _error(401, "security_exception", "missing or wrong credentials")
        if request.path.endswith("_bulk"):
            return await self._bulk(request, body)
        if request.method == "PUT":
            self.put[request.path] = json.loads(body)
            return web.json_response({"acknowledged": True})
        if request.path.endswith("_has_privileges"):
            asked = json.loads(body)
            (one,) = asked["index"]
            index = {one["names"][0]: dict.fromkeys(one["privileges"], self.rights)}
            return web.json_response({"index": index, "cluster": dict.fromkeys(asked["cluster"], self.rights)})
        return web.json_response({"version": {"number": "8.19.0"}})

    async def _bulk(self, request: web.Request, body: bytes) -> web.StreamResponse:
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        await asyncio.sleep(0)
        try:
            return self._answer(request, body)
        finally:
            self._now -= 1

    def _answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if len(body) > self.most_bytes:
            return _error(413, "too_large", "request entity too large")
        self.bodies.append(len(body))
        told = self.answers.pop(0) if self.answers else 200
        if isinstance(told, int) and told != 200:
            return _error(told, "told_to", "as the test wants it")
        if told == "empty":
            return web.json_response({})
        index = request.path.strip("/").removesuffix("_bulk").strip("/")
        lines = body.split(b"\n")
        assert lines.pop() == b"", "the last line needs its newline"
        items = [self._one(index, action, event) for action, event in zip(lines[::2], lines[1::2], strict=True)]
        if told == "lost":
            assert request.transport is not None
            request.transport.abort()
        errors = any("error" in item for one in items for item in one.values())
        return web.json_response({"errors": errors, "items": items})

    def _one(self, index: str, action: bytes, line: bytes) -> dict[str, dict[str, Any]]:
        ((op, names),) = json.loads(action).items()
        index, event = names.get("_index", index), json.loads(line)
        refused = self.item(names["_id"], event)
        if refused is not None:
            status, kind = refused
            return {op: {"status": status, "error": {"type": kind, "reason": "as the test wants it"}}}
        known = self.documents.setdefault(index, {})
        if op == "create" and names["_id"] in known:
            return {op: {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "there"}}}
        known[names["_id"]] = event
        return {op: CREATED}


def _error(status: int, kind: str, reason: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "reason": reason}, "status": status}, status=status)

"""A stub of WebHDFS in this process: namenodes that are active, standing by or in safe mode, and a datanode.

It knows what the output asks: CREATE in two steps, RENAME, GETFILESTATUS, DELETE, CHECKACCESS.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web

from tests.servers.s3_stub import opened

NUMBER = web.AppKey("number", int)


class HdfsStub:
    """One file system behind two namenodes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders = {"/"}
        self.requests: list[str] = []
        """NUMBER METHOD OP path, of the namenodes from 0."""
        self.refusals: dict[int, tuple[int, str]] = {1: (403, "StandbyException")}
        """What a namenode answers to everything: (status, exception)."""
        self.faults: list[tuple[str, tuple[int, str] | str]] = []
        """(op, fault): the next request of this op gets (status, exception); "lost": it is done, and the connection
        breaks; "half": only half of the bytes arrive."""
        self.urls: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HdfsStub]:
        async with AsyncExitStack() as stack:
            for number in (0, 1):
                app = web.Application(client_max_size=1 << 30)
                app[NUMBER] = number
                app.router.add_route("*", "/webhdfs/v1{path:.*}", self._any)
                runner = web.AppRunner(app, shutdown_timeout=0.5)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
            yield self

    def events(self) -> list[dict[str, Any]]:
        """Those of all files that are not hidden, in the order of their making."""
        shown = [(path, data) for path, data in self.files.items() if "/." not in path]
        return [json.loads(line) for path, data in shown for line in opened(path, data).splitlines()]

    async def _any(self, request: web.Request) -> web.StreamResponse:
        number, path, op = request.app[NUMBER], request.match_info["path"] or "/", request.query["op"]
        body = await request.read()
        if "datanode" in request.query:
            op = "DATA"
        self.requests.append(f"{number} {request.method} {op} {path}")
        if number in self.refusals and op != "DATA":
            return refused(*self.refusals[number])
        fault = self.faults.pop(0)[1] if self.faults and self.faults[0][0] == op else None
        if isinstance(fault, tuple):
            return refused(*fault)
        answer = self._do(request, op, path, body)
        if fault == "lost" and request.transport is not None:
            request.transport.abort()
        return answer

    def _do(self, request: web.Request, op: str, path: str, body: bytes) -> web.Response:
        assert request.query.get("user.name") == "dpipe"
        if op == "CREATE":
            assert not body
            return web.Response(status=307, headers={"Location": f"{request.url}&datanode=true"})
        if op == "DATA":
            self.files[path] = body
            parts = path.split("/")
            self.folders |= {"/".join(parts[:end]) or "/" for end in range(1, len(parts))}
            return web.Response(status=201)
        if op == "RENAME":
            return self._rename(path, request.query["destination"])
        if op == "DELETE":
            return web.json_response({"boolean": self.files.pop(path, None) is not None})
        if op == "GETFILESTATUS" and path not in self.files and path not in self.folders:
            return refused(404, "FileNotFoundException")
        return web.json_response({"FileStatus": {"length": len(self.files.get(path, b""))}})

    def _rename(self, path: str, other: str) -> web.Response:
        done = path in self.files and other not in self.files and other.rpartition("/")[0] in self.folders
        if done:
            self.files[other] = self.files.pop(path)
        return web.json_response({"boolean": done})


def refused(status: int, kind: str) -> web.Response:
    """As Hadoop says no."""
    told = {"exception": kind, "javaClassName": f"org.apache.{kind}", "message": "as the test\nwants it"}
    return web.json_response({"RemoteException": told}, status=status)

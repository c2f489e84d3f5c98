"""A proxy for HTTP between a plugin and its server that misbehaves: slow, cut off, refusing, or losing answers.

Faults: a number of seconds before the request is passed on; "reset": the connection breaks before it; "lost": the
server has done it, and nobody hears of it; "half": the answer breaks off in the middle; a status such as 429 or 503:
the server never hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from tests.servers.in_thread import InThread

Fault = float | int | str | None
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "content-encoding"}


class FaultProxy(InThread):
    """`with FaultProxy(url, choose) as proxy`.

    Args:
        target: URL of the server.
        choose: (method, path) -> the fault of this request, or None.
        keep_host: whether the server sees the host that was asked for, as signed requests need it.
    """

    def __init__(self, target: str, choose: Callable[[str, str], Fault], *, keep_host: bool = False) -> None:
        super().__init__()
        self.target = target
        self.keep_host = keep_host
        self.choose = choose
        self.faults = 0
        """So many requests met one."""
        self.url = ""

    async def serve(self, ended: asyncio.Event) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, auto_decompress=False, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            self.ready()
            await ended.wait()
        await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = self.choose(request.method, request.path)
        self.faults += fault is not None
        if isinstance(fault, int):
            return web.json_response({"error": {"type": "fault", "reason": "as the test wants it"}}, status=fault)
        if fault == "reset":
            return self._cut(request)
        if isinstance(fault, float):
            await asyncio.sleep(fault)
        url = self.target + request.raw_path
        headers = {**_kept(request.headers), **_encoding(request.headers)}
        if self.keep_host:
            headers["Host"] = request.headers["Host"]
        try:
            async with self._session.request(
                request.method, url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                data = await answer.read()
        except aiohttp.ClientError:
            return self._cut(request)
        if fault == "lost":
            return self._cut(request)
        headers = {**_kept(answer.headers), **_encoding(answer.headers)}
        if fault == "half":
            return await self._half(request, answer.status, headers, data)
        return web.Response(status=answer.status, headers=headers, body=data)

    @staticmethod
    def _cut(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    @staticmethod
    async def _half(request: web.Request, status: int, headers: dict[str, str], data: bytes) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP | {"host"}}


def _encoding(headers: Any) -> dict[str, str]:
    return {"Content-Encoding": headers["Content-Encoding"]} if "Content-Encoding" in headers else {}

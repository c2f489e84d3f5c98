"""A proxy for HTTP between a plugin and its server that misbehaves: slow, cut off, refusing, or losing answers.

Faults: a number of seconds before the request is passed on; "reset": the connection breaks before it; "lost": the
server has done it, and nobody hears of it; "half": the answer breaks off in the middle; a status such as 429 or 503:
the server never hears of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

Fault = float | int | str | None
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "content-encoding"}


class FaultProxy:
    """Runs in a thread of its own, so that tests that block can use it: `with FaultProxy(url, choose) as proxy`.

    Args:
        target: URL of the server.
        choose: (method, path) -> the fault of this request, or None.
        keep_host: whether the server sees the host that was asked for, as signed requests need it.
    """

    def __init__(self, target: str, choose: Callable[[str, str], Fault], *, keep_host: bool = False) -> None:
        self.target = target
        self.keep_host = keep_host
        self.choose = choose
        self.faults = 0
        """So many requests met one."""
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="fault proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, auto_decompress=False, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            self._ready.set()
            await self._ended.wait()
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

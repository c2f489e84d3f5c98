"""See dpiped.testing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.errors import DpipeError

WAIT_SECS = 20.0


@asynccontextmanager
async def running(
    toml: str, folder: Path, *, name: str = "dpiped", admin: str = "127.0.0.1:0", engine_keys: str = ""
) -> AsyncIterator[Engine]:
    """The engine of a config, started; it is stopped and drained at the end. `[engine]` is made here: do not write
    it, `engine_keys` are more lines of it.
    """
    file = folder / f"{name}.toml"
    head = f'[engine]\nadmin = "{admin}"\ndata_dir = "{folder / name}"\ndrain_timeout_secs = 2\n{engine_keys}\n'
    file.write_text(head + toml, encoding="utf-8")
    engine = Engine(load_daemon_config(file), config_path=file)
    task = asyncio.create_task(engine.run(), name="engine under test")
    started = asyncio.create_task(engine.started.wait())
    try:
        await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_SECS)
        if task.done():
            await task
            raise DpipeError("the engine ended before it had started")
        yield engine
    finally:
        started.cancel()
        engine.stop()
        await asyncio.wait((task,), timeout=WAIT_SECS)
        if task.done() and not task.cancelled():
            task.result()
        else:
            task.cancel()


async def until(condition: Callable[[], bool], secs: float = WAIT_SECS) -> None:
    """Returns when the condition holds; raises TimeoutError when it does not within `secs`."""
    async with asyncio.timeout(secs):
        while not condition():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.01)


def address_of(engine: Engine, name: str) -> str:
    """HOST:PORT that an input really listens on."""
    report = next(runner.report() for runner in engine.inputs if runner.name == name)
    return str(report["address"])


async def post(
    engine: Engine,
    target: str,
    body: bytes,
    *,
    name: str = "http",
    headers: Mapping[str, str] | None = None,
    query: str = "",
) -> tuple[int, dict[str, Any]]:
    """(status, answer) of a POST to `/ingest/{target}` of an http input."""
    url = f"http://{address_of(engine, name)}/ingest/{target}{query}"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else {}


async def request(
    engine: Engine,
    path: str,
    method: str = "GET",
    *,
    data: object = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], Any]:
    """(status, headers, answer) of the admin API; the answer is decoded if it is JSON.

    Args:
        data: sent as JSON, unless it is None.
    """
    if engine.admin is None:
        raise DpipeError("the engine has no admin API")
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{engine.admin.address}{path}", headers=headers, json=data) as answer,
    ):
        decoded = answer.content_type == "application/json" and answer.status != HTTPStatus.NOT_MODIFIED
        return answer.status, answer.headers, await answer.json() if decoded else await answer.text()


async def ask(
    engine: Engine,
    path: str,
    method: str = "GET",
    *,
    data: object = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """(status, answer) as `request` has them."""
    status, _, found = await request(engine, path, method, data=data, headers=headers)
    return status, found


def events_in(paths: Path | Iterable[Path]) -> list[dict[str, Any]]:
    """The events of files of one JSON object a line; none of a file that is not there, and no unfinished last line."""
    files = [paths] if isinstance(paths, Path) else sorted(paths)
    return [json.loads(line) for file in files if file.exists() for line in file.read_bytes().split(b"\n")[:-1]]

"""A stub of Redshift's Data API: it knows the statements of the output, and loads from a stub of S3.

Statements of one call are one transaction: when one fails, none of them counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.servers.s3_stub import S3Stub, opened

_COUNT = re.compile(r"SELECT COUNT\(\*\) FROM \S+ WHERE manifest = '(.*)'")
_INSERT = re.compile(r"INSERT INTO \S+ \(.*\) VALUES \('(s3://.*?)'")
_COPY = re.compile(r"COPY (\S+) .*?FROM '(.*?)'")


class DataApiStub:
    """One database."""

    def __init__(self, store: S3Stub) -> None:
        self._store = store
        self.loaded: list[str] = []
        """Manifests, as the table of them has them."""
        self.events: list[dict[str, Any]] = []
        self.calls: list[list[str]] = []
        """Statements of each call."""
        self.given: list[dict[str, Any]] = []
        """What stood beside them."""
        self.faults: list[str | None] = []
        """What the next transactions meet: "lost": it is done, and the connection breaks; other texts: it fails with
        them."""
        self._ended: dict[str, dict[str, Any]] = {}
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DataApiStub]:
        app = web.Application()
        app.router.add_post("/", self._any)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _any(self, request: web.Request) -> web.StreamResponse:
        given = json.loads(await request.read())
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        if operation == "DescribeStatement":
            return web.json_response({"Id": given["Id"], **self._ended[given["Id"]]})
        if operation == "GetStatementResult":
            return web.json_response({"Records": [[{"longValue": self._ended[given["Id"]]["number"]}]]})
        statements = given.pop("Sqls", None) or [given.pop("Sql")]
        self.calls.append(statements)
        self.given.append(given)
        fault = self.faults.pop(0) if self.faults and len(statements) > 1 else None
        identity = str(len(self.calls))
        failed = fault if fault and fault != "lost" else self._run(statements, identity)
        if failed:
            self._ended[identity] = {"Status": "FAILED", "Error": failed}
        if fault == "lost" and request.transport is not None:
            request.transport.abort()
        return web.json_response({"Id": identity})

    def _run(self, statements: list[str], identity: str) -> str:
        """What went wrong; empty if nothing did."""
        number, loaded, events = 0, list(self.loaded), list(self.events)
        for statement in statements:
            if match := _COUNT.match(statement):
                number = loaded.count(match[1])
            elif match := _INSERT.match(statement):
                loaded.append(match[1])
            elif statement.startswith("SELECT 1 /") and len(loaded) != len(set(loaded)):
                return "ERROR: division by zero"
            elif match := _COPY.match(statement):
                events += self._events_of(match[2])
        self.loaded, self.events = loaded, events
        self._ended[identity] = {"Status": "FINISHED", "number": number}
        return ""

    def _events_of(self, manifest: str) -> list[dict[str, Any]]:
        entries = json.loads(self._store.objects[key_of(manifest)])["entries"]
        keys = [key_of(one["url"]) for one in entries]
        return [json.loads(line) for key in keys for line in opened(key, self._store.objects[key]).splitlines()]


def key_of(address: str) -> str:
    """The key in an s3:// address."""
    return address.removeprefix("s3://").partition("/")[2]

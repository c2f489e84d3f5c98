"""The API of alarms: their states, and what people say to them.

GET  /api/alarms?state=&filter=&limit=&format=                  the states, worst first
POST /api/alarms/{fingerprint}/ack, unack, unsilence            by a control pack
POST /api/alarms/{fingerprint}/silence?secs=
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from dpiped.errors import UnavailableError
from dpiped.filter_runner import StatefulFilterRunner
from dpiped.questions import Alarming
from dpiped.web.answers import runners_of, told
from dpiped.web.asked import DEFAULT_LIMIT, AskedForm, Limit
from dpiped.web.forms import FORMS, answered, as_json
from dpiped.web.openapi import Handler, Nothing, Route, read_query
from dpiped.web.refused import Refused, unavailable

if TYPE_CHECKING:
    from dpiped.engine import Engine

MOST_SECS = 366 * 86_400
Given = TypeVar("Given")
COMMANDS = {
    "ack": "Acknowledges: it is told no more until it is resolved.",
    "unack": "Takes an acknowledgement back.",
    "silence": "Nothing is told of it for so long; its state is kept.",
    "unsilence": "Ends a silence.",
}


class AlarmsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which alarms."""

    state: Annotated[Literal["firing", "resolved"], Meta(description="Only those in this state.")] | UnsetType = UNSET
    filter: Annotated[str, Meta(description="Only those of this filter.", max_length=255)] | UnsetType = UNSET
    limit: Limit = DEFAULT_LIMIT
    format: AskedForm = UNSET


class SilenceQuery(msgspec.Struct, forbid_unknown_fields=True):
    """For how long."""

    secs: Annotated[int, Meta(description="Seconds from now.", ge=1, le=MOST_SECS)]


class Alarms(msgspec.Struct):
    """Alarms with their states, worst first."""

    alarms: list[dict[str, Any]]
    more: bool
    """There are more than `limit`."""


class Told(msgspec.Struct):
    """What was said to an alarm; it is in the journal."""

    fingerprint: str
    filter: str
    control: str
    done: bool
    """The filter has come to it."""


def alarm_routes(engine: Engine) -> list[Route]:
    """The routes of this page."""
    alarms = _Alarms(engine)
    problems = {503: "a filter is not running, or busy"}
    routes = [Route("GET", "/api/alarms", alarms.show, Alarms, AlarmsQuery, forms=tuple(FORMS), problems=problems)]
    for control, about in COMMANDS.items():
        routes.append(
            Route(
                "POST",
                f"/api/alarms/{{fingerprint}}/{control}",
                alarms.command(control, about),
                Told,
                SilenceQuery if control == "silence" else Nothing,
                {"fingerprint": "as `/api/alarms` shows it"},
                problems={404: "there is no such alarm", 503: "a filter is not running, or the journal takes nothing"},
            )
        )
    return routes


class _Alarms:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def show(self, request: web.Request) -> web.Response:
        """The alarms that are known, worst first."""
        query = read_query(request, AlarmsQuery)
        state = None if query.state is UNSET else query.state
        found = [
            await _asked(runner, lambda plugin: plugin.alarms(state, query.limit + 1))
            for runner in runners_of(self._engine, Alarming)
            if query.filter in (UNSET, runner.name)
        ]
        rows = await asyncio.to_thread(_worst, found, query.limit)
        data = Alarms(rows, more=sum(map(len, found)) > len(rows))
        return await answered(request, query.format, data, rows)

    def command(self, control: str, about: str) -> Handler:
        """The handler that says this to an alarm."""

        async def handler(request: web.Request) -> web.Response:
            said: dict[str, Any] = {"control": control, "fingerprint": request.match_info["fingerprint"]}
            if control == "silence":
                said["secs"] = read_query(request, SilenceQuery).secs
            else:
                read_query(request, Nothing)
            runner = await self._owner(said["fingerprint"])
            done = await told(self._engine, runner, {**said, "at_ms": int(time.time() * 1000)})
            return as_json(Told(said["fingerprint"], runner.name, control, done))

        handler.__doc__ = about
        return handler

    async def _owner(self, fingerprint: str) -> StatefulFilterRunner:
        for runner in runners_of(self._engine, Alarming):
            if any(await _asked(runner, lambda plugin: [plugin.knows(fingerprint)])):
                return runner
        raise Refused(404, f"no alarm {fingerprint!r} is known; /api/alarms lists them")


async def _asked(runner: StatefulFilterRunner, question: Callable[[Any], Iterable[Given]]) -> list[Given]:
    """What a filter answers. Raises Refused (503)."""
    try:
        return await runner.ask(question)
    except UnavailableError as exc:
        raise unavailable(exc) from exc


def _worst(found: Iterable[list[dict[str, Any]]], limit: int) -> list[dict[str, Any]]:
    """Of the alarms of some filters, those of each worst first."""
    rows = merge(*found, key=lambda alarm: (-alarm["score"], -alarm["last_ms"], alarm["fingerprint"]))
    return list(islice(rows, limit))

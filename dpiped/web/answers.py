"""The API of answers: what filters with windows know now, and what they knew of the last windows.

GET  /api/aggregates                                                     which filters answer, and what
GET  /api/aggregates/{filter}?window=&group=&from=&to=&limit=&format=    their answers with error bounds
PUT  /api/aggregates/{filter}/reset                                      forgets everything, by a control pack
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType, field

from dpiped.config.validate import did_you_mean
from dpiped.errors import UnavailableError
from dpiped.filter_runner import StatefulFilterRunner
from dpiped.plugin import PAUSE
from dpiped.questions import Answering, Question, Which
from dpiped.web.asked import DEFAULT_LIMIT, AskedForm, FormQuery, Limit, Moment, moment
from dpiped.web.forms import FORMS, answered, as_json
from dpiped.web.openapi import Nothing, Route, read_query
from dpiped.web.refused import Refused, unavailable

if TYPE_CHECKING:
    from dpiped.engine import Engine
    from dpiped.runner import Runner

DONE_SECS = 5.0
"""A reset waits so long until the filter has taken note of it."""


class AnswersQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked of one filter."""

    window: Annotated[
        Which,
        Meta(description="The window that holds the newest event, the last closed one, or all that are known."),
    ] = "all"
    group: (
        Annotated[str, Meta(description="Only of the group with these values, joined by commas.", max_length=4096)]
        | UnsetType
    ) = UNSET
    since: Moment | UnsetType = field(default=UNSET, name="from")
    to: Moment | UnsetType = UNSET
    limit: Limit = DEFAULT_LIMIT
    format: AskedForm = UNSET

    def question(self, now_ms: int) -> Question:
        """Raises Refused (422)."""
        group = None if self.group is UNSET else self.group
        return Question(self.window, group, moment("from", self.since, now_ms), moment("to", self.to, now_ms))


class Aggregates(msgspec.Struct):
    """The filters that answer: name, type, ident, status, and what they compute."""

    aggregates: list[dict[str, Any]]


class Answers(msgspec.Struct):
    """Answers of one filter, oldest window first; `_errors` are their bounds, what is not named is exact."""

    filter: str
    ident: str
    answers: list[dict[str, Any]]
    more: bool
    """There are more than `limit`."""


class WasReset(msgspec.Struct):
    """What became of a reset: it is in the journal."""

    filter: str
    done: bool
    """The filter has come to it."""


def answer_routes(engine: Engine) -> list[Route]:
    """The routes of this page."""
    filters = {"filter": "name of a filter"}
    gone = {404: "there is no such filter"}
    busy = {503: "the filter is not running, or busy"}
    answers = _Answers(engine)
    return [
        Route("GET", "/api/aggregates", answers.list_all, Aggregates, FormQuery, forms=tuple(FORMS)),
        Route(
            "GET",
            "/api/aggregates/{filter}",
            answers.show,
            Answers,
            AnswersQuery,
            filters,
            tuple(FORMS),
            {**gone, **busy},
        ),
        Route(
            "PUT",
            "/api/aggregates/{filter}/reset",
            answers.reset,
            WasReset,
            Nothing,
            filters,
            problems={**gone, 503: "the journal takes nothing now"},
        ),
    ]


class _Answers:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _runners(self) -> Iterator[StatefulFilterRunner]:
        return runners_of(self._engine, Answering)

    def _runner(self, request: web.Request) -> StatefulFilterRunner:
        name = request.match_info["filter"]
        known = {runner.name: runner for runner in self._runners()}
        if name not in known:
            raise Refused(404, f"no filter {name!r} answers here{did_you_mean(name, known)}")
        return known[name]

    async def list_all(self, request: web.Request) -> web.Response:
        """Which filters answer, and what they compute."""
        query = read_query(request, FormQuery)
        found = []
        for runner in self._runners():
            about = {"filter": runner.name, "type": runner.table.type, "ident": runner.options.ident}
            try:
                (said,) = await runner.ask(lambda plugin: [plugin.about()])
            except UnavailableError:
                said = {}
            found.append({**about, "status": runner.status, **said})
        return await answered(request, query.format, Aggregates(found), [_brief(one) for one in found])

    async def show(self, request: web.Request) -> web.Response:
        """The answers of one filter, with their error bounds."""
        runner, query = self._runner(request), read_query(request, AnswersQuery)
        question = query.question(int(time.time() * 1000))
        try:
            found = await runner.ask(lambda plugin: _first(plugin.answers(question), query.limit + 1))
        except UnavailableError as exc:
            raise unavailable(exc) from exc
        rows = found[: query.limit]
        data = Answers(runner.name, runner.options.ident, rows, more=len(found) > len(rows))
        return await answered(request, query.format, data, rows)

    async def reset(self, request: web.Request) -> web.Response:
        """Empties a filter: a control pack says so, hence a replay does the same."""
        runner = self._runner(request)
        read_query(request, Nothing)
        done = await told(self._engine, runner, {"control": "reset", "at_ms": int(time.time() * 1000)})
        return as_json(WasReset(runner.name, done))


def _first(found: Iterable[Any], most: int) -> Iterator[Any]:
    """No more than so many answers; PAUSE is none."""
    for one in found:
        yield one
        most -= one is not PAUSE
        if not most:
            return


def _brief(found: dict[str, Any]) -> dict[str, Any]:
    """One filter as a row: metrics by name and op."""
    metrics = found.get("metrics", {})
    shown = ", ".join(f"{name} ({metric['op']})" for name, metric in metrics.items())
    return {**found, "group_by": ", ".join(found.get("group_by", ())), "metrics": shown}


def runners_of(engine: Engine, what: type[Any]) -> Iterator[StatefulFilterRunner]:
    """The stateful filters that can be asked this."""
    for runner in engine.runners:
        if isinstance(runner, StatefulFilterRunner) and issubclass(runner.plugin_class, what):
            yield runner


async def told(engine: Engine, runner: Runner[Any], said: dict[str, Any]) -> bool:
    """Journals a control pack; whether the filter has come to it in time. Raises Refused (503)."""
    try:
        behind = await engine.control(runner, said)
    except UnavailableError as exc:
        raise unavailable(exc) from exc
    try:
        async with asyncio.timeout(DONE_SECS):
            while runner.reader.cursor < behind:  # noqa: ASYNC110 - a reader has no event for it
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True

"""The API of behavior: what users did, out of the tables that outputs keep.

GET  /api/behavior                                                       the tables
GET  /api/behavior/{table}/users/{uid}?from=&to=&limit=                  what one user did
GET  /api/behavior/{table}/retention?days=0,1,7,30&from=&to=             who came back
GET  /api/behavior/{table}/paths?length=3&n=20&from=&to=                 frequent sequences
GET  /api/funnel?table=&steps=&within=&by=&from=&to=                     how far users came

All but the first read a table in a thread, at most MOST_SCANS at once, and stop when nobody waits for them any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from msgspec import UNSET, UnsetType

from dpiped.behavior import answers, timeline
from dpiped.behavior.funnel import funnel
from dpiped.behavior.paths import TooManyPathsError, paths
from dpiped.behavior.retention import retention
from dpiped.behavior.rows import DAY_MS
from dpiped.behavior.scan import Scan, ScanStoppedError
from dpiped.behavior.table import BehaviorTable
from dpiped.config.validate import did_you_mean
from dpiped.errors import DpipeError
from dpiped.leveldb import LevelDbError
from dpiped.output_runner import OutputRunner
from dpiped.questions import Behaving
from dpiped.web.asked import FormQuery, moment
from dpiped.web.behavior_query import FunnelQuery, PathsQuery, RetentionQuery, UserQuery
from dpiped.web.forms import FORMS, answered
from dpiped.web.openapi import Route, read_query
from dpiped.web.refused import Refused

if TYPE_CHECKING:
    from dpiped.engine import Engine

MOST_SCANS = 2
SCAN_SECS = 120.0
LOOK_SECS = 0.2
"""It is looked so often whether somebody still waits for a scan."""
T = TypeVar("T")


def behavior_routes(engine: Engine) -> list[Route]:
    """The routes of this page."""
    api = _Behavior(engine)
    table = {"table": "name of a table"}
    problems = {404: "there is no such table", 503: "the table is not open, or too much is asked at once"}
    forms = tuple(FORMS)
    base = "/api/behavior/{table}"
    return [
        Route("GET", "/api/behavior", api.tables, answers.Tables, FormQuery, forms=forms),
        Route(
            "GET",
            f"{base}/users/{{uid}}",
            api.user,
            answers.Timeline,
            UserQuery,
            {**table, "uid": "the user"},
            forms,
            problems,
        ),
        Route("GET", f"{base}/retention", api.retention, answers.Retention, RetentionQuery, table, forms, problems),
        Route("GET", f"{base}/paths", api.paths, answers.Paths, PathsQuery, table, forms, problems),
        Route("GET", "/api/funnel", api.funnel, answers.FunnelAnswer, FunnelQuery, forms=forms, problems=problems),
    ]


class _Behavior:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scans = 0

    def _runners(self) -> Iterator[tuple[str, OutputRunner]]:
        for runner in self._engine.runners:
            kept_by = runner.table.plugin_class
            if isinstance(runner, OutputRunner) and issubclass(kept_by, Behaving):
                yield kept_by.table_name(runner.table.config), runner

    def _table(self, name: str) -> BehaviorTable:
        known = dict(self._runners())
        if name not in known:
            raise Refused(404, f"no output keeps a table {name!r}{did_you_mean(name, known)}")
        plugin = known[name].open_plugin
        if not isinstance(plugin, Behaving):
            reason = f"the table is not open: output {known[name].name!r} is {known[name].status}"
            raise Refused(503, reason, **{"Retry-After": "1"})
        return plugin.behavior()

    # ---- what is asked ---------------------------------------------------------------------------------------------
    async def tables(self, request: web.Request) -> web.Response:
        """The tables of users' actions that outputs keep."""
        query = read_query(request, FormQuery)
        found = []
        for name, runner in self._runners():
            plugin = runner.open_plugin
            size = None
            if isinstance(plugin, Behaving):
                try:
                    size = await asyncio.to_thread(plugin.behavior().size)
                except LevelDbError:
                    size = None  # it was closed just now, which the status tells
            found.append(answers.table_of(name, runner.name, runner.status, size))
        return await answered(request, query.format, answers.Tables(found), answers.rows_of(found))

    async def user(self, request: web.Request) -> web.Response:
        """What one user did, oldest first."""
        table, query = self._table(request.match_info["table"]), read_query(request, UserQuery)
        from_ms, to_ms = _times(query.since, query.to)
        uid = _uid(request.match_info["uid"], table)
        rows = await self._scan(
            request, table, lambda scan: timeline.of_user(scan.table, uid, from_ms, to_ms, query.limit + 1)
        )
        data = answers.Timeline(table.name, uid, rows[: query.limit], more=len(rows) > query.limit)
        return await answered(request, query.format, data, data.actions)

    async def retention(self, request: web.Request) -> web.Response:
        """Of the users who came first on a day, how many came back so many days later."""
        table, query = self._table(request.match_info["table"]), read_query(request, RetentionQuery)
        from_ms, to_ms = _times(query.since, query.to)
        days = query.days_asked()
        until = None if to_ms is None else to_ms + (max(days) + 1) * DAY_MS
        sizes, cohorts = await self._scan(
            request, table, lambda scan: retention(scan.users(None, until), days, from_ms=from_ms, to_ms=to_ms)
        )
        data = answers.retention_answer(table.name, days, sizes, cohorts)
        return await answered(request, query.format, data, answers.retention_rows(data))

    async def paths(self, request: web.Request) -> web.Response:
        """The most frequent sequences of actions."""
        table, query = self._table(request.match_info["table"]), read_query(request, PathsQuery)
        from_ms, to_ms = _times(query.since, query.to)
        found = await self._scan(request, table, lambda scan: paths(scan.users(from_ms, to_ms), query.length, query.n))
        data = answers.paths_answer(table.name, query.length, found)
        return await answered(request, query.format, data, answers.paths_rows(data))

    async def funnel(self, request: web.Request) -> web.Response:
        """How many users came how far on a way of actions, and how long it took them."""
        query = read_query(request, FunnelQuery)
        table = self._table(query.table)
        from_ms, to_ms = _times(query.since, query.to)
        steps, within_ms = query.steps_asked(), query.within_asked_ms()
        by = None if query.by is UNSET else query.by
        until = None if to_ms is None or within_ms is None else to_ms + within_ms
        found = await self._scan(
            request,
            table,
            lambda scan: answers.funnel_answer(
                table.name,
                steps,
                by,
                within_ms,
                query.limit,
                funnel(scan.users(from_ms, until), steps, from_ms=from_ms, to_ms=to_ms, within_ms=within_ms, by=by),
            ),
        )
        if by is not None and by not in table.dims and all(group.value is None for group in found.groups):
            raise Refused(422, f"by {by!r}: table {table.name} has no such dimension{did_you_mean(by, table.dims)}")
        return await answered(request, query.format, found, answers.funnel_rows(found))

    # ---- how it is asked -------------------------------------------------------------------------------------------
    async def _scan(self, request: web.Request, table: BehaviorTable, work: Callable[[Scan], T]) -> T:
        """Runs in a thread while somebody waits for it. Raises Refused."""
        if self._scans >= MOST_SCANS:
            raise Refused(503, f"{self._scans} scans run already: ask again later", **{"Retry-After": "2"})
        self._scans += 1
        scan = Scan(table, SCAN_SECS)
        running = asyncio.ensure_future(asyncio.to_thread(work, scan))
        try:
            while not running.done():
                await asyncio.wait((running,), timeout=LOOK_SECS)
                if request.transport is None or request.transport.is_closing():
                    scan.stop()
            return await running
        except ScanStoppedError as exc:
            raise Refused(503, str(exc), **{"Retry-After": "60"}) from exc
        except LevelDbError as exc:
            raise Refused(503, str(exc), **{"Retry-After": "5"}) from exc
        except TooManyPathsError as exc:
            raise Refused(422, str(exc)) from exc
        except DpipeError as exc:
            raise Refused(503, str(exc)) from exc
        finally:
            scan.stop()
            await asyncio.wait((running,))
            self._scans -= 1


def _times(since: str | UnsetType, to: str | UnsetType) -> tuple[int | None, int | None]:
    """Raises Refused (422)."""
    now_ms = int(time.time() * 1000)
    found = moment("from", since, now_ms), moment("to", to, now_ms)
    if found[0] is not None and found[1] is not None and found[0] >= found[1]:
        raise Refused(422, "from has to be before to")
    return found


def _uid(text: str, table: BehaviorTable) -> int | str:
    """As the table has it. Raises Refused (422)."""
    if table.texts:
        return text
    try:
        uid = int(text)
    except ValueError as exc:
        raise Refused(422, f"uid {text!r}: table {table.name} has whole numbers") from exc
    if not -(1 << 63) <= uid < 1 << 63:
        raise Refused(422, f"uid {text}: expected a number of 64 bits")
    return uid

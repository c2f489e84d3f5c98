"""The API of answers: what a running filter knows, in every form, behind the token, and as its description says."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from dpiped.engine import Engine
from dpiped.errors import UnavailableError
from dpiped.filter_runner import StatefulFilterRunner
from dpiped.testing import ask, post, request, running, until

ROAD = """
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
[[filter]]
type = "aggregate"
name = "traffic"
window_secs = 10
keep_periods = 3
lateness_secs = 0
idle_secs = 3600
max_ahead_secs = 3600
group_by = ["area"]
[filter.metrics]
hits = { op = "count" }
users = { op = "cardinality", field = "uid" }
latency = { op = "quantiles", field = "secs", q = [0.5] }
pages = { op = "topn", field = "uri", n = 2 }
[[output]]
type = "discard"
"""
NOW_MS = int(time.time()) // 10 * 10_000


def events(at_ms: int, area: str, amount: int) -> bytes:
    line = '{"@timestamp":%d,"area":"%s","uid":%d,"secs":0.25,"uri":"/a,b"}\n'
    return b"".join((line % (at_ms, area, number)).encode() for number in range(amount))


async def feed(engine: Engine) -> None:
    """Three windows: two that are closed, and one that is open."""
    for place, (area, amount) in enumerate((("de", 3), ("fr", 2), ("de", 4))):
        status, _ = await post(engine, "rs/web", events(NOW_MS + place * 10_000, area, amount))
        assert status == 200
    (runner,) = (runner for runner in engine.runners if runner.name == "traffic")
    await until(lambda: runner.events == 9)


async def answers(engine: Engine, query: str = "") -> list[tuple[str, int]]:
    """(area, hits) of what it answers."""
    status, found = await ask(engine, f"/api/aggregates/traffic{query}")
    assert status == 200, found
    return [(one["area"], one["hits"]) for one in found["answers"]]


async def test_windows_groups_and_times_can_be_chosen(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        assert await answers(engine) == [("de", 3), ("fr", 2), ("de", 4)]
        assert await answers(engine, "?window=last") == [("fr", 2)]
        assert await answers(engine, "?window=current") == [("de", 4)]
        assert await answers(engine, "?group=de") == [("de", 3), ("de", 4)]
        assert await answers(engine, "?group=null") == []
        assert await answers(engine, f"?from={NOW_MS + 10_000}") == [("fr", 2), ("de", 4)]
        assert await answers(engine, f"?to={NOW_MS + 10_000}") == [("de", 3)]
        assert await answers(engine, "?from=-1h&to=2999-01-01T00:00:00Z") == [("de", 3), ("fr", 2), ("de", 4)]
        assert await answers(engine, "?from=2999-01-01") == []
        _, found = await ask(engine, "/api/aggregates/traffic?limit=2")
        assert (len(found["answers"]), found["more"]) == (2, True)


async def test_a_group_among_many_is_found_and_limited(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        for window in range(2):
            body = b"".join(events(NOW_MS + window * 10_000, f"area-{number}", 1) for number in range(500))
            assert (await post(engine, "rs/web", body))[0] == 200
        (runner,) = (runner for runner in engine.runners if runner.name == "traffic")
        await until(lambda: runner.events == 1_000)
        for limit, hits, more in ((1, [1], True), (2, [1, 1], False)):
            _, found = await ask(engine, f"/api/aggregates/traffic?group=area-499&limit={limit}")
            assert ([one["hits"] for one in found["answers"]], found["more"]) == (hits, more)


@pytest.mark.parametrize(("form", "last"), [("text", "there are more: a larger limit shows them"), ("csv", "fr")])
async def test_what_a_limit_cuts_off_is_told_in_all_forms(tmp_path: Path, form: str, last: str) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        _, headers, cut = await request(engine, f"/api/aggregates/traffic?limit=2&format={form}")
        assert last in cut.splitlines()[-1]
        assert headers["X-Dpipe-More"] == "true"
        _, headers, whole = await request(engine, f"/api/aggregates/traffic?limit=3&format={form}")
        assert "X-Dpipe-More" not in headers
        assert "there are more" not in whole


async def test_answers_state_their_errors_and_whether_they_are_early(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        _, found = await ask(engine, "/api/aggregates/traffic")
        closed, _, early = found["answers"]
        assert "_early" not in closed
        assert early["_early"] is True
        assert closed["_errors"] == {"latency": 0.005}  # the others are exact
        assert closed["pages"] == [{"value": "/a,b", "count": 3}]
        _, listed = await ask(engine, "/api/aggregates")
        (one,) = listed["aggregates"]
        assert (one["filter"], one["window_secs"], one["group_by"]) == ("traffic", 10, ["area"])
        assert one["metrics"]["latency"] == {"op": "quantiles", "field": "secs", "q": [0.5]}
        assert (one["groups"], one["kept_windows"], one["status"]) == (1, 2, "running")


@pytest.mark.parametrize("path", ["/api/aggregates", "/api/aggregates/traffic"])
async def test_forms(path: str, tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        _, headers, text = await request(
            engine, path, headers={"Accept": "text/html, text/csv;q=0.9, application/json;q=0.1"}
        )
        assert headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(text)))
        _, headers, shown = await request(engine, f"{path}?format=text", headers={"Accept": "text/csv"})
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        _, headers, _ = await request(engine, path, headers={"Accept": "image/png"})
        assert headers["Content-Type"] == "application/json"
    if path.endswith("traffic"):
        assert [(row["hits"], row["latency.p50"]) for row in rows] == [
            ("3", "0.24989"),
            ("2", "0.24989"),
            ("4", "0.24989"),
        ]
        assert rows[0]["pages"] == '[{"value":"/a,b","count":3}]'
        assert [line.split()[2:4] for line in shown.splitlines()[1:]] == [["de", "3"], ["fr", "2"], ["de", "4"]]
    else:
        assert [row["filter"] for row in rows] == ["traffic"]
        assert "users (cardinality)" in shown


async def test_whoever_has_an_answer_gets_no_body_until_it_changes(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        _, headers, _ = await request(engine, "/api/aggregates/traffic")
        tag = headers["ETag"]
        status, body = await ask(engine, "/api/aggregates/traffic", headers={"If-None-Match": f'"other", W/{tag}'})
        assert (status, body) == (304, "")
        await post(engine, "rs/web", events(NOW_MS + 20_000, "it", 1))
        (runner,) = (runner for runner in engine.runners if runner.name == "traffic")
        await until(lambda: runner.events == 10)
        status, headers, _ = await request(engine, "/api/aggregates/traffic", headers={"If-None-Match": tag})
        assert (status, headers["ETag"] != tag) == (200, True)


async def test_a_reset_is_journaled(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        status, told = await ask(engine, "/api/aggregates/traffic/reset", "PUT")
        assert (status, told) == (200, {"filter": "traffic", "done": True})
        assert await answers(engine) == []
    async with running(ROAD, tmp_path) as engine:
        (runner,) = (runner for runner in engine.runners if runner.name == "traffic")
        await until(lambda: runner.status == "running")
        assert await answers(engine) == []
        await post(engine, "rs/web", events(NOW_MS + 20_000, "it", 1))
        await until(lambda: runner.events == 1)
        assert await answers(engine) == [("it", 1)]


async def test_what_cannot_be_asked_is_one_line(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        for method, path, status, text in (
            ("GET", "/api/aggregates/trafic", 404, 'did you mean "traffic"?'),
            ("PUT", "/api/aggregates/nothing/reset", 404, "no filter 'nothing' answers here"),
            ("GET", "/api/aggregates/traffic?windo=last", 422, "windo"),
            ("GET", "/api/aggregates/traffic?window=next", 422, "next"),
            ("GET", "/api/aggregates/traffic?limit=0", 422, "limit"),
            ("GET", "/api/aggregates/traffic?limit=1&limit=2", 422, "given twice"),
            ("GET", "/api/aggregates/traffic?from=yesterday", 422, "expected milliseconds"),
            ("GET", "/api/aggregates?format=xml", 422, "xml"),
            ("POST", "/api/aggregates/traffic", 405, "Method Not Allowed"),
        ):
            answer = await request(engine, path, method)
            assert (answer[0], text in answer[2]["error"]) == (status, True), answer
        assert answer[1]["Allow"] == "GET,HEAD"


async def test_answers_show_events_so_they_need_the_token(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path, engine_keys='admin_tokens = ["geheim"]') as engine:
        await until(lambda: all(runner.status == "running" for runner in engine.runners))
        for path in ("/api/aggregates", "/api/aggregates/traffic", "/api/alarms"):
            assert (await ask(engine, path))[0] == 401
            assert (await ask(engine, path, headers={"Authorization": "Bearer geheim"}))[0] == 200
        assert (await ask(engine, "/api/aggregates/traffic/reset", "PUT"))[0] == 401
        assert (await ask(engine, "/api/openapi.json"))[0] == 200


async def test_a_filter_that_stands_says_so(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        (runner,) = (runner for runner in engine.runners if isinstance(runner, StatefulFilterRunner))
        with pytest.raises(ZeroDivisionError):
            await runner.ask(lambda plugin: [1 / 0])
        assert await answers(engine, "?window=last") == [("fr", 2)]  # a question that fails hurts nobody
        runner.status = "failed"
        status, headers, found = await request(engine, "/api/aggregates/traffic")
        assert (status, headers["Retry-After"], found) == (503, "1", {"error": "filter 'traffic' is failed"})
        _, listed = await ask(engine, "/api/aggregates")
        assert listed["aggregates"] == [
            {"filter": "traffic", "type": "aggregate", "ident": "traffic", "status": "failed"}
        ]


async def test_a_question_waits_for_the_pack_in_hand(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        (runner,) = (runner for runner in engine.runners if isinstance(runner, StatefulFilterRunner))
        async with runner._turn:
            asked = asyncio.create_task(runner.ask(lambda plugin: [plugin.about()]))
            await asyncio.sleep(0)
            runner.status = "retrying"  # it failed on that pack
        with pytest.raises(UnavailableError, match="retrying"):
            await asked


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_the_description_is_true(mode: GenerationMode, tmp_path: Path) -> None:
    """Requests made of the OpenAPI document, good and bad ones: each answer is as the document says."""
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        assert engine.admin is not None
        tried = await asyncio.to_thread(requests_of_the_description, f"http://{engine.admin.address}", mode)
    assert "GET /api/aggregates/{filter}" in tried


def requests_of_the_description(url: str, mode: GenerationMode) -> list[str]:
    """The operations that were tried; raises when an answer is not as described. Blocking."""
    tried = []
    for found in schemathesis.openapi.from_url(f"{url}/api/openapi.json").get_all_operations():
        operation = found.ok()
        known = {"path_parameters": {"filter": "traffic"}} if "{filter}" in operation.path else {}

        @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode, **known))
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=url)

        try:
            check()
        except Unsatisfiable:
            continue  # an operation without parameters has no bad requests
        tried.append(operation.label)
    return tried

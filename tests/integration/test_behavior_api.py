"""The API of behavior and `dpiped funnel`: live answers, in every form, behind the token, and what cannot be asked."""

from __future__ import annotations

import asyncio
import csv
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpiped.behavior.scan import Scan
from dpiped.cli import main
from dpiped.engine import Engine
from dpiped.testing import ask, post, running, until
from dpiped.web import behavior as api

ROAD = """
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
[[output]]
type = "behavior"
name = "sky"
table = "players"
uid = "uid:int"
action = "do"
dims = ["country"]
"""
MINUTE_MS = 60_000
DAY_MS = 86_400_000
BASE_MS = 19_676 * DAY_MS
"""2023-11-15."""


def line(uid: int, after_ms: int, action: str, country: str = "de") -> bytes:
    at_ms = BASE_MS + after_ms
    return b'{"@timestamp":%d,"uid":%d,"do":"%s","country":"%s"}\n' % (at_ms, uid, action.encode(), country.encode())


FEED = b"".join(
    (
        line(1, 0, "login"),
        line(1, MINUTE_MS, "level_up"),
        line(1, 2 * MINUTE_MS, "buy"),
        line(2, 0, "login"),
        line(2, 3 * MINUTE_MS, "level_up"),
        line(3, 0, "login", "fr"),
        line(3, DAY_MS, "login", "fr"),
        line(4, DAY_MS, "buy", "fr"),
    )
)


async def feed(engine: Engine, body: bytes = FEED) -> None:
    """Returns when it is stored."""
    (runner,) = engine.runners
    events = runner.events + body.count(b"\n")
    assert (await post(engine, "rs/web", body))[0] == 200
    await until(lambda: runner.events == events)


async def opened(engine: Engine) -> None:
    """Returns when the table can be asked."""
    await until(lambda: engine.runners[0].status == "running")


async def test_a_funnel_of_all_and_of_groups(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        asked = "/api/funnel?table=players&steps=login,level_up,buy&within=1h&by=country"
        status, found = await ask(engine, asked)
        assert (status, found["table"], found["by"], found["within_secs"], found["more"]) == (
            200,
            "players",
            "country",
            3600.0,
            False,
        )
        assert [list(step.values()) for step in found["total"]] == [
            [1, "login", 3, 1.0, 1.0, None],
            [2, "level_up", 2, 0.666667, 0.666667, 120.0],
            [3, "buy", 1, 0.5, 0.333333, 60.0],
        ]
        assert [(group["value"], [step["users"] for step in group["steps"]]) for group in found["groups"]] == [
            ("de", [2, 2, 1]),
            ("fr", [1, 0, 0]),
        ]
        await feed(engine, line(3, 5 * MINUTE_MS, "level_up", "fr"))  # live, and later than others of its user
        _, found = await ask(engine, asked + "&limit=1")
        assert [step["users"] for step in found["total"]] == [3, 3, 1]
        assert (len(found["groups"]), found["more"]) == (1, True)
        _, found = await ask(engine, f"/api/funnel?table=players&steps=login,login&from={BASE_MS + DAY_MS}")
        assert [step["users"] for step in found["total"]] == [1, 0]
        _, found = await ask(engine, f"/api/funnel?table=players&steps=login,login&to={BASE_MS + DAY_MS}")
        assert [step["users"] for step in found["total"]] == [3, 1]


async def test_a_timeline_tables_retention_and_paths(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        base = "/api/behavior/players"
        _, found = await ask(engine, f"{base}/users/1?from={BASE_MS + MINUTE_MS}&limit=1")
        assert found == {
            "table": "players",
            "uid": 1,
            "actions": [{"@timestamp": BASE_MS + MINUTE_MS, "action": "level_up", "country": "de"}],
            "more": True,
        }
        assert (await ask(engine, f"{base}/users/99"))[1]["actions"] == []
        _, found = await ask(engine, f"{base}/retention?days=0,1&to={BASE_MS + DAY_MS}")
        assert found["cohorts"] == [{"day": "2023-11-15", "users": 3, "there": [3, 1], "shares": [1.0, 0.333333]}]
        _, found = await ask(engine, f"{base}/paths?length=2&n=1")
        assert found["paths"] == [{"actions": ["login", "level_up"], "count": 2, "users": 2}]
        (runner,) = engine.runners
        runner.open_plugin.behavior().fold()  # type: ignore[attr-defined]
        _, found = await ask(engine, "/api/behavior")
        (table,) = found["tables"]
        assert (table["table"], table["output"], table["rows"]) == ("players", "sky", 8)
        assert (table["first_day"], table["last_day"]) == ("2023-11-15", "2023-11-16")


@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("/api/behavior", "table,output,status,rows,blocks,first_day,last_day"),
        ("/api/behavior/players/users/1", "@timestamp,action,country"),
        ("/api/behavior/players/retention?days=0,7", "day,users,day_0,day_7"),
        ("/api/behavior/players/paths", "path,count,users"),
        (
            "/api/funnel?table=players&steps=login,buy&by=country",
            "country,step,action,users,of_previous,of_first,median_secs",
        ),
        ("/api/funnel?table=players&steps=login,buy", "step,action,users,of_previous,of_first,median_secs"),
    ],
)
async def test_forms(path: str, columns: str, tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        status, text = await ask(engine, path, headers={"Accept": "text/csv"})
        rows = list(csv.reader(io.StringIO(text)))
        assert (status, rows[0]) == (200, columns.split(","))
        assert len(rows) > 1
        status, text = await ask(engine, path, headers={"Accept": "text/plain"})
        assert (status, len(text.splitlines())) == (200, len(rows))


async def test_what_cannot_be_asked_is_one_line(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await opened(engine)
        funnel = "/api/funnel?table=players&steps="
        for path, status, text in (
            ("/api/funnel?table=player&steps=a,b", 404, "no output keeps a table 'player'; did you mean \"players\"?"),
            ("/api/behavior/nothing/paths", 404, "no output keeps a table 'nothing'"),
            ("/api/funnel?steps=a,b", 422, "table"),
            (funnel + "a", 422, "steps 'a': expected 2 to 20 actions, joined by commas"),
            (funnel + "a,,b", 422, "steps 'a,,b': expected 2 to 20 actions"),
            (funnel + ",".join("a" * 21), 422, "expected 2 to 20 actions"),
            (
                funnel + "a,b&within=7x",
                422,
                "within '7x': expected longest time from the first step to the last, such as",
            ),
            (funnel + "a,b&from=2&to=1", 422, "from has to be before to"),
            (funnel + "a,b&by=contry", 422, 'has no such dimension; did you mean "country"?'),
            (funnel + "a,b&from=yesterday", 422, "expected milliseconds"),
            ("/api/behavior/players/users/ann", 422, "uid 'ann': table players has whole numbers"),
            (f"/api/behavior/players/users/{1 << 63}", 422, "expected a number of 64 bits"),
            ("/api/behavior/players/retention?days=1,x", 422, "days '1,x': expected up to 50 ages"),
            ("/api/behavior/players/paths?length=11", 422, "length"),
        ):
            answer = await ask(engine, path)
            assert (answer[0], text in answer[1]["error"]) == (status, True), answer


@pytest.mark.parametrize("at", [str(10**30), "0", "9999-12-31", "0001-01-01"])
async def test_any_time_can_be_asked_about(at: str, tmp_path: Path) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        (runner,) = engine.runners
        runner.open_plugin.behavior().fold()  # type: ignore[attr-defined]
        everything = at in ("0", "0001-01-01")
        for path in (
            "/api/funnel?table=players&steps=login,buy&within=999999d",
            "/api/behavior/players/paths?length=1",
        ):
            status, found = await ask(engine, f"{path}&from={at}")
            assert status == 200
            assert bool(found["paths"] if "paths" in found else found["total"][0]["users"]) == everything
            assert (await ask(engine, f"{path}&to={at}"))[0] == 200
        for path in ("/api/behavior/players/users/1", "/api/behavior/players/retention"):
            assert (await ask(engine, f"{path}?from={at}"))[0] == 200
            assert (await ask(engine, f"{path}?to={at}"))[0] == 200


async def test_they_show_events_so_they_need_the_token(tmp_path: Path) -> None:
    async with running(ROAD, tmp_path, engine_keys='admin_tokens = ["geheim"]') as engine:
        await feed(engine)
        for path in (
            "/api/behavior",
            "/api/behavior/players/users/1",
            "/api/behavior/players/retention",
            "/api/behavior/players/paths",
            "/api/funnel?table=players&steps=login,buy",
        ):
            assert (await ask(engine, path))[0] == 401
            assert (await ask(engine, path, headers={"Authorization": "Bearer geheim"}))[0] == 200


async def test_a_table_that_is_not_open_says_so(tmp_path: Path) -> None:
    config = ROAD + 'disabled = true\n[[output]]\ntype = "discard"\n'
    async with running(config, tmp_path) as engine:
        status, found = await ask(engine, "/api/funnel?table=players&steps=a,b")
        assert (status, found) == (503, {"error": "the table is not open: output 'sky' is disabled"})
        assert (await ask(engine, "/api/behavior"))[1]["tables"][0]["status"] == "disabled"


class Slow:
    """Scans that wait for a signal; whoever asks is told when they begin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.ended = 0, 0
        self.go_on = threading.Event()
        users = Scan.users

        def slowly(scan: Scan, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[Any]:
            self.begun += 1
            try:
                while not self.go_on.wait(0.01):
                    scan._check()
                yield from users(scan, from_ms, to_ms)
            finally:
                self.ended += 1

        monkeypatch.setattr(Scan, "users", slowly)


async def test_scans_are_few_and_disturb_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    asked = "/api/funnel?table=players&steps=login,buy"
    async with running(ROAD, tmp_path) as engine:
        await opened(engine)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(engine, asked)) for _ in range(api.MOST_SCANS)]
            await until(lambda: slow.begun == api.MOST_SCANS)
            status, found = await ask(engine, asked)
            assert (status, found) == (503, {"error": "2 scans run already: ask again later"})
            await feed(engine)  # meanwhile events come in
            slow.go_on.set()
        assert [task.result()[0] for task in tasks] == [200, 200]
        assert (await ask(engine, asked))[1]["total"][0]["users"] == 3


async def test_a_scan_ends_when_its_asker_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    async with running(ROAD, tmp_path) as engine:
        await opened(engine)
        asking = asyncio.create_task(ask(engine, "/api/behavior/players/paths"))
        await until(lambda: slow.begun == 1)
        asking.cancel()
        await until(lambda: slow.ended == 1)


async def test_a_scan_has_a_limit_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    monkeypatch.setattr(api, "SCAN_SECS", 0.05)
    async with running(ROAD, tmp_path) as engine:
        await opened(engine)
        status, found = await ask(engine, "/api/behavior/players/retention")
        assert (status, found) == (503, {"error": "the scan took more than 0.05 s: ask about less time"})
        assert slow.ended == 1


async def test_too_many_paths_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.behavior.paths.MOST_PATHS", 1)
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        status, found = await ask(engine, "/api/behavior/players/paths?length=1")
        assert (status, "ask for shorter ones, or less time" in found["error"]) == (422, True)


async def test_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(ROAD, tmp_path) as engine:
        await feed(engine)
        assert engine.admin is not None
        target = ["--admin", f"http://{engine.admin.address}", "--table", "players"]
        for more, text in (
            ([], "   1  login         3          1.0       1.0"),
            (["--by", "country", "--format", "csv"], "\nfr,1,login,1,1.0,1.0,"),
            (["--format", "json", "--within", "1h"], '"within_secs": 3600.0'),
        ):
            command = ["funnel", *target, "--steps", "login,level_up", *more]
            assert await asyncio.to_thread(main, command) == 0
            assert text in capsys.readouterr().out.replace("\r\n", "\n")
        assert await asyncio.to_thread(main, ["funnel", *target, "--steps", "login"]) == 2
        error = capsys.readouterr().err
        assert "steps" in error
        assert error.count("\n") == 1

"""Refused events: shown, sent again to who refused them, once whatever is killed, and dropped; by the admin API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp.test_utils
import pytest
from aiohttp import web

from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.errors import UnavailableError
from dpiped.selection import Selection
from dpiped.testing import ask, events_in, post, running, until

HOST = {"X-Dpipe-Host": "web-7"}
ROAD = """
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
[[output]]
type = "file"
name = "archive"
path = "{folder}/out/{{ident}}.ndjson"
"""


async def test_letters_are_listed_by_what_is_asked_for(tmp_path: Path) -> None:
    async with running(ROAD.format(folder=tmp_path), tmp_path) as engine:
        await post(engine, "rs/web.a", b'{"n":1}\n{bad\n{worse\n')
        await post(engine, "rs/web.b", b"\xff\xfe\n", query="?source=/x.log")
        status, found = await ask(engine, "/admin/deadletters")
        assert (status, found["count"], found["more"]) == (200, 3, False)
        assert [one["ident"] for one in found["letters"]] == ["web.a", "web.a", "web.b"]
        last = found["letters"][2]
        assert (last["plugin"], last["project"], last["source"]) == ("http", "rs", "/x.log")
        assert last["raw_base64"] == "//4="
        for query, amount in {
            "?ident=web.a": 2,
            "?ident=web.*&limit=1": 1,
            "?plugin=archive": 0,
            "?project=rs": 3,
            "?since=-1h": 3,
            "?since=2100-01-01": 0,
            "?text=no+such+reason": 0,
            f"?cause={last['cause']}": 1,
        }.items():
            status, found = await ask(engine, f"/admin/deadletters{query}")
            assert (status, len(found["letters"])) == (200, amount), query
        for query in ("?limit=0", "?limit=x", "?since=5", "?idnet=x", "?ident=..", "?all=1"):
            status, found = await ask(engine, f"/admin/deadletters{query}")
            assert (status, list(found)) == (422, ["error"]), query


async def test_the_intake_takes_back_what_its_codec_reads_now(tmp_path: Path) -> None:
    async with running(ROAD.format(folder=tmp_path), tmp_path) as engine:
        await post(engine, "rs/web", b"plain one\nplain two\n", query="?source=/x.log", headers=HOST)
        status, told = await ask(engine, "/admin/deadletters/retry", "POST", data={"plugin": "http"})
        assert (status, told["sent"], told["stay"]) == (200, 0, 2)
        assert (await ask(engine, "/admin/deadletters"))[1]["count"] == 2
    fixed = ROAD.format(folder=tmp_path).replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\ncodec = "raw"')
    async with running(fixed, tmp_path) as engine:
        status, told = await ask(engine, "/admin/deadletters/retry", "POST", data={"plugin": "http"})
        assert (status, told) == (200, {"sent": 2, "stay": 0, "reasons": {}})
        await until(lambda: len(events_in(tmp_path / "out/web.ndjson")) == 2)
        assert (await ask(engine, "/admin/deadletters"))[1]["count"] == 0
    events = events_in(tmp_path / "out/web.ndjson")
    assert [event["message"] for event in events] == ["plain one", "plain two"]
    assert {(event["_host"], event["_source"]) for event in events} == {("web-7", "/x.log")}


async def test_the_codec_that_the_sender_named_is_used_again(tmp_path: Path) -> None:
    als = b'us,1700000000,{"a":1\nus,1700000000,{"a":2}\n'
    async with running(ROAD.format(folder=tmp_path), tmp_path) as engine:
        await post(engine, "rs/web", als, query="?codec=als")
        letters = (await ask(engine, "/admin/deadletters"))[1]["letters"]
        assert [(one["raw"], one["codec"]) for one in letters] == [('us,1700000000,{"a":1', "als")]
        _, told = await ask(engine, "/admin/deadletters/retry", "POST", data={"all": True})
        assert told["stay"] == 1


async def test_an_input_that_is_gone_is_replaced_by_the_json_codec(tmp_path: Path) -> None:
    road = ROAD.format(folder=tmp_path)
    async with running(road.replace("[[output]]", 'name = "old"\ncodec = "als"\n[[output]]'), tmp_path) as engine:
        await post(engine, "rs/web", b'{"n":1}\n', name="old")
    async with running(road, tmp_path) as engine:
        assert (await ask(engine, "/admin/deadletters/retry", "POST", data={"all": True}))[1]["sent"] == 1
        await until(lambda: [event["n"] for event in events_in(tmp_path / "out/web.ndjson")] == [1])


class Broken(Exception):
    """A kill at this moment."""


@pytest.mark.parametrize("moment", ["before the append", "after the append"])
async def test_a_kill_in_a_retry_loses_and_doubles_nothing(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = ROAD.format(folder=tmp_path)
    raw = road.replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\ncodec = "raw"')
    async with running(road, tmp_path) as engine:
        await post(engine, "rs/web", b"one\ntwo\n")
    async with running(raw, tmp_path) as engine:
        append = engine.journal.append

        async def killed(owner: str, *more: Any) -> bool:
            if owner == "~retry" and moment == "before the append":
                raise Broken
            repeat = await append(owner, *more)
            if owner == "~retry":
                raise Broken
            return repeat

        monkeypatch.setattr(engine.journal, "append", killed)
        with pytest.raises(Broken):
            await engine.retrier.retry(Selection(all=True))
        assert engine.around.deadletters.count == 2
    async with running(raw, tmp_path) as engine:  # the next start ends it by itself
        await until(lambda: engine.around.deadletters.count == 0)
        await until(lambda: len(events_in(tmp_path / "out/web.ndjson")) == 2)
        assert engine.around.deadletters.plan() is None
    assert [event["message"] for event in events_in(tmp_path / "out/web.ndjson")] == ["one", "two"]


async def test_letters_appended_before_a_kill_are_gone_though_nobody_could_read_them_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = ROAD.format(folder=tmp_path)
    raw = road.replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\ncodec = "raw"')
    async with running(road, tmp_path) as engine:
        await post(engine, "rs/web", b'one\n{"n":2\n')
    async with running(raw, tmp_path) as engine:
        append = engine.journal.append

        async def killed(owner: str, *more: Any) -> bool:
            await append(owner, *more)
            raise Broken

        monkeypatch.setattr(engine.journal, "append", killed)
        with pytest.raises(Broken):
            await engine.retrier.retry(Selection(all=True))
    half = raw.replace('codec = "raw"', 'codec = { type = "regex", pattern = "(?P<x>one)", on_mismatch = "reject" }')
    async with running(half, tmp_path) as engine:
        await until(lambda: engine.around.deadletters.count == 0)
        assert len(events_in(tmp_path / "out/web.ndjson")) == 2


async def test_a_full_journal_is_said_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = ROAD.format(folder=tmp_path)
    raw = road.replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\ncodec = "raw"')
    async with running(road, tmp_path) as engine:
        await post(engine, "rs/web", b"one\n")
    async with running(raw, tmp_path) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(engine.journal.room, "refusal", lambda kind: UnavailableError("the journal is full"))
            status, told = await ask(engine, "/admin/deadletters/retry", "POST", data={"all": True})
            assert (status, told) == (503, {"error": "the journal is full"})
        assert (await ask(engine, "/admin/deadletters/retry", "POST", data={"all": True}))[0] == 200
        await until(lambda: len(events_in(tmp_path / "out/web.ndjson")) == 1)
        assert engine.around.deadletters.count == 0


async def test_events_are_shown_only_with_the_token(tmp_path: Path) -> None:
    file = tmp_path / "dpiped.toml"
    async with running(ROAD.format(folder=tmp_path), tmp_path):
        text = file.read_text().replace("[engine]", '[engine]\nadmin_token = "geheim-6"')
    file.write_text(text)
    secured = Engine(load_daemon_config(file))
    task = asyncio.create_task(secured.run())
    await until(secured.started.is_set)
    headers = {"Authorization": "Bearer geheim-6"}
    for path, method, data in (("", "GET", None), ("/retry", "POST", {"all": True}), ("/drop", "POST", {"all": True})):
        assert (await ask(secured, f"/admin/deadletters{path}", method, data=data))[0] == 401
        assert (await ask(secured, f"/admin/deadletters{path}", method, data=data, headers=headers))[0] == 200
    secured.stop()
    await task


async def test_dropped_letters_are_counted(tmp_path: Path) -> None:
    async with running(ROAD.format(folder=tmp_path), tmp_path) as engine:
        await post(engine, "rs/a", b"{bad\n")
        await post(engine, "rs/b", b"{bad\n{bad\n")
        assert engine.telemetry.metrics.letters._value.get() == 3
        assert await ask(engine, "/admin/deadletters/drop", "POST", data={"ident": "b"}) == (200, {"dropped": 2})
        assert engine.telemetry.metrics.dropped.labels("deadletter", "dropped_by_command")._value.get() == 2
        assert engine.telemetry.metrics.letters._value.get() == 1
        for data in ({}, [], {"casues": ["x"]}, {"causes": "x"}):
            assert (await ask(engine, "/admin/deadletters/drop", "POST", data=data))[0] == 422
        assert engine.around.deadletters.count == 1


async def test_a_letter_keeps_no_secret_that_a_store_quoted(tmp_path: Path) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=400, text=f"no such door: {request.headers['Authorization']}")

    async with aiohttp.test_utils.RawTestServer(refuse) as store:
        output = f'[[output]]\ntype = "http"\nname = "hook"\nurl = "{store.make_url("/")}"\ntoken = "s3cret-9"\n'
        async with running(ROAD.format(folder=tmp_path) + output, tmp_path) as engine:
            await post(engine, "rs/web", b'{"n":1}\n')
            await until(lambda: engine.around.deadletters.count == 1)
            (letter,) = (await ask(engine, "/admin/deadletters"))[1]["letters"]
            assert letter["reason"] == "400 no such door: Bearer ***"

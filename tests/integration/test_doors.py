"""Who may do what on the running engine: tokens of inputs and projects, the admin API, and strangers that hold on."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dpiped.api import Frame, encode_frame
from dpiped.batch import BatchId
from dpiped.engine import Engine
from dpiped.pack import EVENTS_IDENT, Head, decode_body
from dpiped.testing import address_of, events_in, post, running, until

GOOD = b'{"@timestamp":1700000000000,"n":1}\n'
TENANTS = """
[[project]]
name = "red"
tokens = ["red-token-1", "red-token-2"]
[[project]]
name = "blue"
tokens = ["blue-token"]
[[input]]
type = "http"
listen = "127.0.0.1:0"
%s
[[output]]
type = "file"
path = "%s/{project}.ndjson"
"""
ADMIN = "admin-token-1"
PATHS = ("/admin/ping", "/admin/stat", "/admin/plugins", "/admin/pools", "/admin/uris", "/admin/graph", "/metrics")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def frame(project: str) -> bytes:
    return encode_frame(Frame(Head(project=project, ident="app", count=1, raw_bytes=len(GOOD)), GOOD))


async def post_frames(engine: Engine, token: str, *projects: str) -> int:
    url = f"http://{address_of(engine, 'http')}/ingest"
    headers = {"Content-Type": "application/x-dpipe", **(bearer(token) if token else {})}
    data = b"".join(frame(project) for project in projects)
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
        return answer.status


# ---- tokens of inputs and projects ---------------------------------------------------------------------------------
async def test_a_token_of_a_project_opens_only_it(tmp_path: Path) -> None:
    async with running(TENANTS % ('tokens = ["all-token"]', tmp_path), tmp_path) as engine:
        expected = {
            "": 401,
            "wrong": 401,
            "red-token": 401,
            "red-token-11": 401,
            "red-token-1": 200,
            "red-token-2": 200,
            "blue-token": 403,
            "all-token": 200,
        }
        for token, status in expected.items():
            assert (await post(engine, "red/app", GOOD, headers=bearer(token)))[0] == status, token
            assert await post_frames(engine, token, "red") == status, token
        assert await post_frames(engine, "red-token-1", "red", "blue") == 403
        assert await post_frames(engine, "blue-token", "red", "blue") == 403
        assert await post_frames(engine, "all-token", "red", "blue") == 200
        await until(lambda: len(events_in(tmp_path / "red.ndjson")) == 7)
        await until(lambda: len(events_in(tmp_path / "blue.ndjson")) == 1)


async def test_a_refusal_names_the_project(tmp_path: Path) -> None:
    """The sender may be another daemon, whose packs are of many."""
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        for path, text in (("blue/app", "does not open project 'blue'"), ("grey/app", "unknown project grey;")):
            _, answer = await post(engine, path, GOOD, headers=bearer("red-token-1"))
            assert text in answer["error"]
        _, answer = await post(engine, "%0a/app", GOOD)
        assert answer["error"].startswith("unknown project;")


async def test_streams_of_one_project_say_nothing_of_those_of_another(tmp_path: Path) -> None:
    batch = {"X-Dpipe-Batch": "nightly/7"}
    red, blue = {**bearer("red-token-1"), **batch}, {**bearer("blue-token"), **batch}
    for _ in range(2):
        async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
            answers = [(await post(engine, path, GOOD, headers=red))[1] for path in ("red/app", "red/b")]
            assert answers[-1].get("duplicate") is True
            late = {**red, "X-Dpipe-Batch": "nightly/6"}
            assert await post(engine, "red/app", GOOD, headers=late) == (
                409,
                {"error": "batch nightly/6 is not what this stream sent before"},
            )
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        first, again = [await post(engine, "blue/app", GOOD, headers=blue) for _ in range(2)]
    assert [first[0], first[1].get("duplicate"), again[1].get("duplicate")] == [200, None, True]


async def test_a_batch_that_was_stored_before_streams_had_projects_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue = ({**bearer(token), "X-Dpipe-Batch": "nightly/7"} for token in ("red-token-1", "blue-token"))
    with monkeypatch.context() as patch:
        patch.setattr("plugins.inputs.http.batch_of", lambda request, project: BatchId("nightly", 7))
        async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
            assert (await post(engine, "red/app", GOOD, headers=red))[1]["accepted"] == 1
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        assert (await post(engine, "red/app", GOOD, headers=red))[1]["duplicate"] is True
        assert "duplicate" not in (await post(engine, "blue/app", GOOD, headers=blue))[1]


async def test_tokens_are_read_from_the_head_only(tmp_path: Path) -> None:
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        for query in ("?token=red-token-1", "?access_token=red-token-1", "?Authorization=Bearer%20red-token-1"):
            assert (await post(engine, "red/app", GOOD, query=query))[0] == 401
        assert (await post(engine, "red/app", b'{"token":"red-token-1"}'))[0] == 401
        for headers in ({"Cookie": "token=red-token-1"}, {"Authorization": "red-token-1"}, {"X-Token": "red-token-1"}):
            assert (await post(engine, "red/app", GOOD, headers=headers))[0] == 401
        assert engine.journal.next == 0


async def test_strangers_get_no_body_read(tmp_path: Path) -> None:
    """401 comes before the body has: a stranger cannot fill the memory for bodies."""
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        host, port = address_of(engine, "http").split(":")
        for path, kind in ((b"/ingest/red/app", b"x/y"), (b"/ingest", b"application/x-dpipe")):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 999\r\n\r\n" % (path, kind)
            )
            async with asyncio.timeout(10):
                assert b" 401 " in await reader.readline()
            assert engine.inputs[0].report()["in_flight_bytes"] == 0
            writer.close()


# ---- the admin API -------------------------------------------------------------------------------------------------
async def admin(engine: Engine, method: str, path: str, **more: Any) -> tuple[int, str]:
    assert engine.admin is not None
    url = f"http://{engine.admin.address.replace('0.0.0.0', '127.0.0.1')}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, **more) as answer:
        return answer.status, await answer.text()


async def test_on_an_open_address_all_but_the_probes_need_the_token(tmp_path: Path) -> None:
    keys = f'admin_token = "{ADMIN}"\nadmin_tokens = ["admin-token-2"]\n'
    async with running(TENANTS % ("", tmp_path), tmp_path, admin="0.0.0.0:0", engine_keys=keys) as engine:
        for path in PATHS:
            assert (await admin(engine, "GET", path))[0] == 401, path
            assert (await admin(engine, "GET", path, headers=bearer("red-token-1")))[0] == 401, path
            for token in (ADMIN, "admin-token-2"):
                assert (await admin(engine, "GET", path, headers=bearer(token)))[0] == 200, path
        assert await admin(engine, "GET", "/healthz") == (200, '{\n  "ok": true\n}\n')
        assert json.loads((await admin(engine, "GET", "/readyz"))[1]) == {"ready": True}
        assert "problems" in (await admin(engine, "GET", "/readyz", headers=bearer(ADMIN)))[1]
        for path in ("/admin/reload", "/admin/shutdown"):
            for given in ({}, bearer("x"), {"Authorization": ADMIN}, {"Authorization": f"Basic {ADMIN}"}):
                assert (await admin(engine, "POST", path, headers=given))[0] == 401
            assert (await admin(engine, "POST", f"{path}?token={ADMIN}", data=ADMIN))[0] == 401
        assert not engine.stopping.is_set()
        assert (await admin(engine, "POST", "/admin/reload", headers=bearer("admin-token-2")))[0] == 200


async def test_on_loopback_reading_is_free_and_changing_needs_the_token(tmp_path: Path) -> None:
    async with running(TENANTS % ("", tmp_path), tmp_path, engine_keys=f'admin_token = "{ADMIN}"') as engine:
        for path in PATHS:
            assert (await admin(engine, "GET", path))[0] == 200
        assert (await admin(engine, "POST", "/admin/reload"))[0] == 401
        assert (await admin(engine, "POST", "/admin/reload", headers=bearer(ADMIN)))[0] == 200


async def test_head_tells_what_get_would(tmp_path: Path) -> None:
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        for path in (*PATHS, "/healthz", "/readyz", "/api/alarms"):
            assert await admin(engine, "HEAD", path) == (200, ""), path
        assert (await admin(engine, "HEAD", "/admin/shutdown"))[0] == 405
        assert (await admin(engine, "HEAD", "/nothing"))[0] == 404
    keys = f'admin_token = "{ADMIN}"'
    async with running(TENANTS % ("", tmp_path), tmp_path, admin="0.0.0.0:0", engine_keys=keys) as engine:
        assert [(await admin(engine, "HEAD", path))[0] for path in ("/admin/stat", "/healthz")] == [401, 200]


async def test_no_answer_shows_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it came from: errors of libraries quote what they were given."""
    async with running(TENANTS % ("", tmp_path), tmp_path, engine_keys=f'admin_token = "{ADMIN}"') as engine:
        runner = engine.runners[0]
        shown = {"status": "failed", "last_error": f"http://me:hush@store refused red-token-1, {ADMIN}"}
        report = runner.report
        monkeypatch.setattr(runner, "report", lambda: {**report(), **shown})  # the runner itself is well
        engine.telemetry.metrics.events_in.labels("blue-token").inc()
        for path in (*PATHS, "/readyz"):
            text = (await admin(engine, "GET", path))[1]
            assert not any(secret in text for secret in ("red-token-1", "hush", "blue-token", ADMIN)), path
        assert "http://***@store refused ***, ***" in (await admin(engine, "GET", "/readyz"))[1]
        engine.telemetry.say("store said red-token-1", level=logging.WARNING)

        def reported() -> bytes:
            packs, _ = engine.journal.storage.read(0, lambda route: route.ident == EVENTS_IDENT, 1 << 20)
            return b"".join(decode_body(pack.body, pack.head.encoding) for pack in packs)

        await until(lambda: b"store said" in reported())
        assert b"store said ***" in reported()


async def test_web_pages_of_others_change_nothing(tmp_path: Path) -> None:
    """A browser reaches loopback addresses for any page, and a name of the page's owner may mean one."""
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        assert engine.admin is not None
        port = engine.admin.address.rpartition(":")[2]
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://evil.example:{port}", "Host": f"evil.example:{port}"},
        ):
            assert (await admin(engine, "POST", "/admin/shutdown", headers=headers))[0] == 403
        assert not engine.stopping.is_set()
        mine = {"Origin": f"http://{engine.admin.address}"}
        assert (await admin(engine, "POST", "/admin/reload", headers=mine))[0] == 200


SHOWING = ("/admin/deadletters", "/api/aggregates", "/api/alarms", "/api/behavior")


async def test_events_are_not_shown_to_a_page_whose_name_was_made_to_mean_loopback(tmp_path: Path) -> None:
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        assert engine.admin is not None
        port = engine.admin.address.rpartition(":")[2]
        for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "[::1]", f"localhost:{port}", "[::1]:80"):
            for path in SHOWING:
                assert (await admin(engine, "GET", path, headers={"Host": host}))[0] != 403, (host, path)
        strange = (f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[", "")
        for host in strange:
            for path in SHOWING:
                for method in ("GET", "HEAD"):
                    assert (await admin(engine, method, path, headers={"Host": host}))[0] == 403, (host, path)
        assert (await admin(engine, "GET", "/healthz", headers={"Host": "evil.example"}))[0] == 200
    async with running(TENANTS % ("", tmp_path), tmp_path, engine_keys=f'admin_token = "{ADMIN}"') as engine:
        named = {"Host": "logs.example"}
        assert (await admin(engine, "GET", "/api/alarms", headers=named))[0] == 401
        assert (await admin(engine, "GET", "/api/alarms", headers={**named, **bearer(ADMIN)}))[0] == 200


# ---- who holds on to the admin API ---------------------------------------------------------------------------------
async def test_the_admin_api_has_limits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.web.admin.IDLE_SECS", 0.4)
    monkeypatch.setattr("dpiped.web.admin.MAX_CONNECTIONS", 5)
    monkeypatch.setattr("dpiped.web.admin.BODY_SECS", 0.3)
    async with running(TENANTS % ("", tmp_path), tmp_path) as engine:
        assert engine.admin is not None
        host, port = engine.admin.address.split(":")

        async def ask(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(data)
                async with asyncio.timeout(10):
                    return await reader.readline()
            finally:
                writer.close()

        assert await ask(b"GET /admin/ping HT") in (
            b"",
            b"HTTP/1.0 400 Bad Request\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
        )
        assert b" 400 " in await ask(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
        assert b" 400 " in await ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 500 + b"\r\n")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(10)]
        assert b" 503 " in await ask(b"GET /admin/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        for _, writer in held:
            writer.close()
        await until(lambda: engine.admin is not None and engine.admin._listener.connections == 0)
        assert b" 200 " in await ask(b"GET /admin/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        slow = b"POST /admin/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
        assert b" 408 " in await ask(slow)
        assert b" 413 " in await ask(slow[:-1].replace(b"500", b"70000") + b"x" * 70_000)


async def test_peers_of_syslog_that_are_turned_away_are_told_though_nothing_comes(tmp_path: Path) -> None:
    syslog = '[[input]]\ntype = "syslog"\nlisten = "127.0.0.1:0"\nmax_connections = 1\n'
    async with running(f'{syslog}[[output]]\ntype = "discard"\n', tmp_path) as engine:
        host, port = address_of(engine, "syslog").rsplit(":", 1)
        _, first = await asyncio.open_connection(host, int(port))
        (runner,) = engine.inputs
        await until(lambda: runner.report()["connections"] == 1)
        reader, second = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        counted = b'dpipe_noted_events_total{plugin="syslog",what="connection_refused"} 1.0'
        await until(lambda: counted in engine.telemetry.metrics.text())
        first.close()
        second.close()


async def test_datagrams_of_syslog_that_came_before_a_stop_are_delivered(tmp_path: Path) -> None:
    syslog = '[[input]]\ntype = "syslog"\ntransport = "udp"\nlisten = "127.0.0.1:0"\n'
    out = f'[[output]]\ntype = "file"\npath = "{tmp_path}/out.ndjson"\n'
    async with running(syslog + out, tmp_path) as engine:
        host, port = address_of(engine, "syslog").rsplit(":", 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(5):
                sender.sendto(b"<13>%d" % number, (host, int(port)))  # the daemon has no turn to read them
    assert [event["message"] for event in events_in(tmp_path / "out.ndjson")] == ["0", "1", "2", "3", "4"]

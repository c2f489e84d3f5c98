"""Alarms in a running daemon: from an event to a line in a file, what operators say, restarts, replays."""

from __future__ import annotations

import json
import time
from pathlib import Path

from dpiped.alarms import AlarmingFilter
from dpiped.engine import Engine
from dpiped.testing import ask, events_in, post, running, until
from tests.alarming import alarms_of
from tests.integration.test_replay import made, replay

TICK = "tick_secs = 0.1"
CONFIG = """
[journal]
keep_bytes = "1GiB"
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
"""
ALARM = """
[[filter]]
type = "alarm"
name = "errors"
match = ["rs.**", "web"]
where = "level == 'error'"
group_by = ["host"]
window_secs = 10
slide_secs = 1
when = "count >= 3"
title = "{count} errors on {host}"
throttle_secs = 0
resolve_after_secs = 0.3
max_ahead_secs = 1e9
idle_secs = 0.3
[[output]]
type = "file"
name = "alarms"
match = ["alarm.**"]
path = "FOLDER/alarms.ndjson"
"""


def alarm_of(engine: Engine) -> AlarmingFilter:
    plugin = next(runner for runner in engine.runners if runner.name == "errors")._plugin  # type: ignore[attr-defined]
    assert isinstance(plugin, AlarmingFilter)
    return plugin


async def say(engine: Engine, what: str, fingerprint: str, query: str = "") -> None:
    """By the admin API, as an operator does."""
    status, told = await ask(engine, f"/api/alarms/{fingerprint}/{what}{query}", "POST")
    assert (status, told) == (
        200,
        {"fingerprint": fingerprint, "filter": "errors", "control": what, "done": True},
    )


async def send(engine: Engine, count: int, host: str = "web-1", at: int | None = None) -> None:
    stamp = int(time.time() * 1000) if at is None else at
    line = {"@timestamp": stamp, "level": "error", "host": host}
    lines = [line, {**line, "level": "info"}] * count
    status, _ = await post(engine, "rs/web", b"".join(json.dumps(one).encode() + b"\n" for one in lines))
    assert status == 200


async def test_an_event_over_the_threshold_becomes_a_line_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "alarms.ndjson"
    async with running(CONFIG + ALARM.replace("FOLDER", str(tmp_path)), tmp_path, engine_keys=TICK) as engine:
        await send(engine, 2)
        await send(engine, 9, host="web-2")
        await until(lambda: len(events_in(file)) == 1)
        await send(engine, 1)
        await until(lambda: {alarm["host"] for alarm in events_in(file)} == {"web-1", "web-2"})
    first = events_in(file)[0]
    assert (first["state"], first["title"], first["score"]) == ("firing", "9 errors on web-2", 90)
    assert first["samples"][0]["level"] == "error"


async def test_what_an_operator_says_holds_over_restarts(tmp_path: Path) -> None:
    file = tmp_path / "alarms.ndjson"
    config = CONFIG + ALARM.replace("FOLDER", str(tmp_path)).replace("resolve_after_secs = 0.3", "")
    async with running(config, tmp_path, engine_keys=TICK) as engine:
        await send(engine, 3)
        await until(lambda: len(events_in(file)) == 1)
        fingerprint = events_in(file)[0]["fingerprint"]
        await say(engine, "ack", fingerprint)
        assert alarms_of(alarm_of(engine))[0]["acked"] is True
        told = len(events_in(file))
    async with running(config, tmp_path, engine_keys=TICK) as engine:
        await until(lambda: len(alarms_of(alarm_of(engine), "firing")) == 1)
        assert alarms_of(alarm_of(engine))[0]["acked"] is True
        await send(engine, 3)
        await send(engine, 3, host="web-2")
        await until(lambda: events_in(file)[-1]["host"] == "web-2")
        assert [alarm["host"] for alarm in events_in(file)[told:]] == ["web-2"]


async def test_a_replay_gives_the_same_alarms(tmp_path: Path) -> None:
    live = ALARM.replace("FOLDER", str(tmp_path / "live"))
    file = tmp_path / "live/alarms.ndjson"
    base = 1_700_000_000_000
    async with running(CONFIG + live, tmp_path, engine_keys=TICK) as engine:
        await send(engine, 3, at=base)
        await until(lambda: len(events_in(file)) >= 1)
        await say(engine, "silence", events_in(file)[0]["fingerprint"], "?secs=1")
        await send(engine, 4, host="web-2", at=base + 5_000)
        await until(lambda: [alarm["state"] for alarm in events_in(file)].count("resolved") == 2)
        await send(engine, 4, at=base + 90_000)
        await until(lambda: [alarm["state"] for alarm in events_in(file)].count("resolved") == 3)
    emitted = made(tmp_path / "dpiped", "alarm.errors")
    assert len(emitted) >= 6
    again = f"[engine]\n{TICK}\n{ALARM.replace('FOLDER', str(tmp_path / 'again'))}"
    await replay(again, tmp_path / "again", tmp_path / "dpiped")
    assert made(tmp_path / "again/work", "alarm.errors") == emitted
    assert (tmp_path / "again/alarms.ndjson").read_bytes().splitlines() == emitted


async def test_alarms_are_listed_and_told_by_http(tmp_path: Path) -> None:
    file = tmp_path / "alarms.ndjson"
    quiet = ALARM.replace("FOLDER", str(tmp_path)).replace("resolve_after_secs = 0.3", "resolve_after_secs = 600")
    async with running(CONFIG + quiet, tmp_path, engine_keys=TICK) as engine:
        await send(engine, 3)
        await send(engine, 5, host="web-2")
        await until(lambda: len(events_in(file)) >= 2)
        status, found = await ask(engine, "/api/alarms?state=firing&limit=1")
        (worst,) = found["alarms"]
        assert (status, worst["group"], worst["score"], found["more"]) == (200, {"host": "web-2"}, 50, True)
        fingerprint = worst["fingerprint"]
        for what, query, key, value in (
            ("ack", "", "acked", True),
            ("unack", "", "acked", False),
            ("silence", "?secs=60", "silenced_until_ms", True),
            ("unsilence", "", "silenced_until_ms", False),
        ):
            await say(engine, what, fingerprint, query)
            _, found = await ask(engine, "/api/alarms")
            assert bool(found["alarms"][0][key]) is value, what
        assert (await ask(engine, "/api/alarms?filter=other"))[1] == {"alarms": [], "more": False}
        assert (await ask(engine, "/api/alarms?state=resolved"))[1]["alarms"] == []
        assert (await ask(engine, f"/api/alarms/{fingerprint}/silence", "POST"))[0] == 422
        assert (await ask(engine, "/api/alarms?state=loud"))[0] == 422
        status, said = await ask(engine, "/api/alarms/ff00/ack", "POST")
        assert (status, said) == (404, {"error": "no alarm 'ff00' is known; /api/alarms lists them"})

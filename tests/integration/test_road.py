"""The whole road in one process: http in, journal, filters, outputs, stops and starts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import zstandard

from dpiped.journal.inspect import frames
from dpiped.telemetry.events import EventsDropped
from dpiped.testing import address_of, events_in, post, running, until

PROJECT = '[[project]]\nname = "rs"\n'
HTTP = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'


def file_output(path: Path, match: str = "", name: str = "file") -> str:
    return f'[[output]]\ntype = "file"\nname = "{name}"\nmatch = [{match}]\npath = "{path}"\n'


def lines(first: int, last: int) -> bytes:
    return b"".join(b'{"@timestamp":%d,"n":%d}\n' % (1_700_000_000_000 + n, n) for n in range(first, last))


async def test_every_event_is_delivered_once_over_restarts(tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    config = PROJECT + HTTP + file_output(out)
    for turn in range(3):
        async with running(config, tmp_path) as engine:
            status, answer = await post(engine, "rs/app", lines(turn * 100, turn * 100 + 100))
            assert (status, answer["accepted"]) == (200, 100)
    assert [event["n"] for event in events_in(out)] == list(range(300))


async def test_a_repeated_batch_is_known(tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    config = PROJECT + HTTP + file_output(out)
    async with running(config, tmp_path) as engine:
        headers = {"X-Dpipe-Batch": "web-1/7/abc"}
        assert (await post(engine, "rs/app", lines(0, 5), headers=headers))[0] == 200
        status, answer = await post(engine, "rs/app", lines(0, 5), headers=headers)
        assert (status, answer.get("duplicate")) == (200, True)
        assert (await post(engine, "rs/app", lines(0, 5), headers={"X-Dpipe-Batch": "web-1/7/other"}))[0] == 409
        assert (await post(engine, "rs/app", lines(0, 5), headers={"X-Dpipe-Batch": "web-1/6/abc"}))[0] == 409
    async with running(config, tmp_path) as engine:
        status, answer = await post(engine, "rs/app", lines(0, 5), headers=headers)
        assert (status, answer.get("duplicate")) == (200, True)
    assert len(events_in(out)) == 5


async def test_windows_survive_a_restart(tmp_path: Path) -> None:
    out = tmp_path / "stats.ndjson"
    config = (
        PROJECT
        + HTTP
        + (
            '[[filter]]\ntype = "aggregate"\nname = "traffic"\nident = "stats.traffic"\n'
            'window_secs = 60\ngroup_by = ["area"]\n'
            '[filter.metrics]\nhits = { op = "count" }\n'
        )
        + file_output(out, '"stats.**"')
    )
    at = 1_700_000_040_000  # a multiple of 60 s
    for turn in range(2):
        async with running(config, tmp_path) as engine:
            body = b"".join(b'{"@timestamp":%d,"area":"%s"}\n' % (at + turn, area) for area in (b"us", b"de", b"us"))
            assert (await post(engine, "rs/app", body))[0] == 200
    async with running(config, tmp_path) as engine:
        assert (await post(engine, "rs/app", b'{"@timestamp":%d,"area":"fr"}\n' % (at + 65_000)))[0] == 200
        await until(lambda: len(events_in(out)) == 2)
    stats = {event["area"]: event for event in events_in(out)}
    assert stats["us"] == {
        "@timestamp": at + 60_000,
        "window_start": at,
        "window_end": at + 60_000,
        "area": "us",
        "hits": 4,
    }
    assert stats["de"]["hits"] == 2


async def test_daemons_chain(tmp_path: Path) -> None:
    out = tmp_path / "out.ndjson"
    async with running(PROJECT + HTTP + file_output(out), tmp_path, name="centre") as centre:
        output = f'[[output]]\ntype = "dpipe"\nendpoints = ["http://{address_of(centre, "http")}"]\n'
        async with running(PROJECT + HTTP + output, tmp_path, name="edge") as edge:
            headers = {"X-Dpipe-Host": "web-7"}
            assert (await post(edge, "rs/app", lines(0, 50), query="?source=/x.log", headers=headers))[0] == 200
            await until(lambda: len(events_in(out)) == 50)
    assert events_in(out)[3] == {"@timestamp": 1_700_000_000_003, "n": 3, "_host": "web-7", "_source": "/x.log"}


async def test_what_is_of_no_project_is_so_behind_a_chain_too(tmp_path: Path) -> None:
    """Panes over events of several projects, and what the daemon in front reports of itself."""
    projects = '[[project]]\nname = "shop"\n[[project]]\nname = "bank"\n'
    windows = '[[filter]]\ntype = "%s"\nname = "%s"\nlateness_secs = 0\nmetrics = { hits = { op = "count" } }\n'
    out, said, shop = tmp_path / "out.ndjson", tmp_path / "said.ndjson", tmp_path / "shop.ndjson"
    outputs = (
        file_output(out, '"all"')
        + file_output(said, '"_dpipe.events"', "said")
        + file_output(shop, '"shop:**", "shop:_dpipe.events"', "shop")
    )
    merge = windows % ("merge", "all") + 'match = ["panes"]\n'
    async with running(projects + HTTP + merge + outputs, tmp_path, name="centre") as centre:
        panes = windows % ("aggregate", "panes") + "panes = true\n"
        match, url = '["panes", "_dpipe.events"]', f"http://{address_of(centre, 'http')}"
        output = f'[[output]]\ntype = "dpipe"\nmatch = {match}\nendpoints = ["{url}"]\n'
        async with running(projects + HTTP + panes + output, tmp_path, name="edge") as edge:
            for project in ("shop", "bank"):
                assert (await post(edge, f"{project}/app", lines(0, 3)))[0] == 200
            edge.telemetry.emit(EventsDropped(plugin="nobody", amount=1, reason="late"))
            for second in (1_700_000_200, 1_700_000_400):
                assert (await post(edge, "bank/app", b'{"@timestamp":%d000}\n' % second))[0] == 200
            await until(lambda: events_in(out) and events_in(said))
    assert events_in(out)[0]["hits"] == 6
    assert [event["plugin"] for event in events_in(said)] == ["nobody"]
    assert not events_in(shop)


async def test_lines_that_are_kept_as_they_came_are_read_as_events(tmp_path: Path) -> None:
    """From the disk, after a restart, and by the daemon behind."""
    now, kept, sent = int(time.time() * 1000), tmp_path / "kept.ndjson", tmp_path / "sent.ndjson"
    als = b"".join(b'us,%d,{"n":%d}\r\n' % (now + n, n) for n in range(200))
    journal = '[journal]\nkeep_bytes = "1GiB"\n' + PROJECT + HTTP + 'codec = "als"\n'
    async with running(journal + '[[output]]\ntype = "discard"\n', tmp_path) as edge:
        headers = {"Content-Encoding": "zstd"}
        body = zstandard.ZstdCompressor().compress(als)
        assert (await post(edge, "rs/app", body, headers=headers))[1]["accepted"] == 200
    stored = frames(tmp_path / "dpiped", lambda head: head.ident == "app", print)
    assert [frame.head.encoding for frame in stored] == ["als+zstd"]
    async with running(PROJECT + HTTP + file_output(sent), tmp_path, name="centre") as centre:
        outputs = (
            f'[[output]]\ntype = "dpipe"\nstart = "earliest"\nendpoints = ["http://{address_of(centre, "http")}"]\n'
            + file_output(kept)
            + 'start = "earliest"\n'
        )
        async with running(journal + outputs, tmp_path):
            await until(lambda: len(events_in(kept)) == len(events_in(sent)) == 200)
    assert events_in(kept) == events_in(sent) == [{"@timestamp": now + n, "_area": "us", "n": n} for n in range(200)]


async def test_relabel_by_rules(tmp_path: Path) -> None:
    config = (
        PROJECT
        + HTTP
        + (
            '[[filter]]\ntype = "relabel"\nident = "rest"\nunmatched = "pass"\n'
            'rules = [{ where = "n >= 8", ident = "big", add = { size = "big" }, drop = ["n"] }]\n'
        )
        + file_output(tmp_path / "{ident}.ndjson", '"big", "rest"')
    )
    async with running(config, tmp_path) as engine:
        assert (await post(engine, "rs/app", lines(0, 10)))[0] == 200
    assert events_in(tmp_path / "big.ndjson") == [{"@timestamp": 1_700_000_000_000 + n, "size": "big"} for n in (8, 9)]
    assert len(events_in(tmp_path / "rest.ndjson")) == 8


async def test_idle_pools_are_empty(tmp_path: Path) -> None:
    async with running(PROJECT + HTTP + file_output(tmp_path / "out.ndjson"), tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 2000))
        await until(lambda: engine.pool.in_use == 0 and engine.pool.bytes == 0)


async def test_an_output_may_skip_what_is_too_far_behind(tmp_path: Path) -> None:
    """The dead output loses the oldest packs, counted; the journal does not fill up; the healthy one gets all."""
    block = tmp_path / "dead"
    block.write_text("a file where a folder should be")
    dead = file_output(block / "x.ndjson", name="dead") + 'when_behind = "skip"\nmax_behind_bytes = "1MiB"\n'
    config = (
        '[journal]\nmax_bytes = "4MiB"\n'
        + PROJECT
        + HTTP
        + dead
        + "[output.retry]\nmax_secs = 0.2\n"
        + file_output(tmp_path / "out.ndjson")
    )
    async with running(config, tmp_path) as engine:
        sent = 0
        dropped = engine.telemetry.metrics.dropped.labels("dead", "behind")
        while dropped._value.get() == 0:
            noise = os.urandom(40_000).hex()
            status, _ = await post(
                engine,
                "rs/app",
                b"".join(b'{"n":%d,"noise":"%s"}\n' % (n, noise.encode()) for n in range(sent, sent + 4)),
            )
            sent += 4 if status == 200 else 0
        block.unlink()
        await until(lambda: bool(events_in(block / "x.ndjson")))
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == sent)
        lost = int(dropped._value.get())
        await until(lambda: len(events_in(block / "x.ndjson")) == sent - lost)


async def test_rejected_events_are_told_to_their_project(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "rs.log"
    project = (
        PROJECT
        + f'logfile = "{log}"\n[[project]]\nname = "quiet"\nshow_error = false\nlogfile = "{tmp_path}/quiet.log"\n'
    )
    async with running(project + HTTP + file_output(tmp_path / "out.ndjson"), tmp_path) as engine:
        for name in ("rs", "quiet"):
            assert (await post(engine, f"{name}/app", b'{"n":1}\nnonsense\n', query="?source=/x.log"))[0] == 200
        text = log.read_text("utf-8")
    assert "nonsense" in text
    assert "line=2" in text
    assert "/x.log" in text
    assert not (tmp_path / "quiet.log").exists()

"""Whatever the daemon answers, and whenever the collector is killed, each line arrives exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from collector.checkpoint import Range
from collector.item import Item
from collector.lane import _told
from dpiped.errors import LockedError
from dpiped.testing import until


def append(path: Path, first: int, last: int) -> list[str]:
    lines = [f"{path.name} {number} of a log" for number in range(first, last)]
    with path.open("a", encoding="ascii") as file:
        file.write("".join(line + "\n" for line in lines))
    return lines


async def run_until(collector, condition):
    """Runs the collector until the condition of the sink holds, then stops it; True if nothing was left."""
    task = asyncio.create_task(collector.run())
    waiting = asyncio.create_task(condition)
    done, _ = await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=20)
    waiting.cancel()
    collector.stop()
    assert done
    return await task


@pytest.mark.parametrize(
    "actions",
    [
        (),
        (503, 503),
        (500,),
        (401,),
        ("drop",),
        ("lose",),
        ("lose", 503, "lose"),
        ("drop", 503),
        (429, "lose"),
    ],
)
async def test_each_line_arrives_once(kit, actions, monkeypatch):
    monkeypatch.setattr("collector.lane.SLOW_PAUSE_SECS", 0.01)
    lines = append(kit.log, 0, 1000)
    async with kit.Sink(*actions) as sink:
        done = sink.until(lambda: len(sink.lines) >= 1000 and not sink.actions)
        assert await run_until(kit.build(kit.folder, sink.url), done)
    assert sink.lines == lines
    assert len({seq for _, seq in sink.requests}) == 1, "the same batch is sent again, not another one"


async def test_frame_tells_where_it_came_from(kit):
    append(kit.log, 0, 3)
    async with kit.Sink() as sink:
        collector = kit.build(kit.folder, sink.url, token="secret", host="web1")
        await run_until(collector, sink.until(lambda: bool(sink.lines)))
    head = sink.frames[0].head
    assert (head.project, head.ident, head.source) == ("rs", "rs.app", str(kit.log))
    assert (head.host, head.codec) == ("web1", "raw")
    assert sink.tokens[0] == "Bearer secret"


async def test_names_that_are_no_utf8_or_have_control_characters_are_files_like_others(kit):
    names = [b"a\xff.log", b"new\nline.log", "\u00fc.log".encode()]
    logs = [kit.log.with_name(os.fsdecode(name)) for name in names]
    for log in logs:
        log.write_text("1\n")
    async with kit.Sink() as sink:
        assert await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: len(sink.lines) == 3))
        for log in logs:
            with log.open("a") as file:
                file.write("2\n")
        collector = kit.build(kit.folder, sink.url)
        assert await run_until(collector, sink.until(lambda: len(sink.lines) == 6))
    assert sorted(sink.lines) == ["1", "1", "1", "2", "2", "2"]
    shown = {f"{kit.log.parent}/{name}" for name in ("a\\xff.log", "new\\x0aline.log", "\u00fc.log")}
    assert {frame.head.source for frame in sink.frames} == shown
    assert {file["path"] for file in collector.feeds[0].status()["settled"]} == shown


async def test_goes_on_where_it_stopped(kit):
    first = append(kit.log, 0, 10)
    async with kit.Sink() as sink:
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: len(sink.lines) == 10))
        second = append(kit.log, 10, 20)
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: len(sink.lines) == 20))
    assert sink.lines == first + second
    assert len({stream for stream, _ in sink.requests}) == 1


async def test_conflict_ends_it(kit):
    append(kit.log, 0, 3)
    async with kit.Sink(409) as sink:
        with pytest.raises(LockedError, match="another collector"):
            await kit.build(kit.folder, sink.url).run()


async def test_copied_data_dir_is_found_out(kit):
    append(kit.log, 0, 3)
    async with kit.Sink() as sink:
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: bool(sink.lines)))
        checkpoint = kit.folder / "data" / "checkpoint.json"
        before = checkpoint.read_bytes()
        append(kit.log, 3, 6)
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: len(sink.lines) == 6))
        checkpoint.write_bytes(before)
        with pytest.raises(LockedError):
            await kit.build(kit.folder, sink.url).run()
    assert len(sink.lines) == 6


async def test_nothing_acceptable_counts_as_done(kit, caplog):
    append(kit.log, 0, 3)
    async with kit.Sink(422) as sink:
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: not sink.actions))
        assert "the daemon can never take 3 lines, and keeps none of them" in caplog.text
        append(kit.log, 3, 4)
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: bool(sink.lines)))
    assert sink.lines == ["app.log 3 of a log"]


async def test_too_large_batches_are_halved(kit):
    lines = append(kit.log, 0, 1000)
    async with kit.Sink() as sink:
        sink.most_lines = 100
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: len(sink.lines) >= 1000))
    assert sink.lines == lines
    stream = [seq for _, seq in sink.requests]
    assert stream == sorted(set(stream)), "halves have numbers of their own"


async def test_line_that_is_too_large_is_given_up(kit):
    append(kit.log, 0, 1)
    async with kit.Sink(413) as sink:
        collector = kit.build(kit.folder, sink.url)
        append(kit.folder / "logs" / "other.log", 0, 0)
        task = asyncio.create_task(collector.run())
        await sink.until(lambda: bool(sink.requests))
        append(kit.log, 1, 2)
        await sink.until(lambda: bool(sink.lines))
        collector.stop()
        await task
    assert sink.lines == ["app.log 1 of a log"]
    assert collector.lanes[0].counts["too_large"] == 1


async def test_refused_batch_goes_to_the_next_endpoint(kit):
    lines = append(kit.log, 0, 50)
    async with kit.Sink(503) as first, kit.Sink() as second:
        await run_until(kit.build(kit.folder, first.url, second.url), second.until(lambda: bool(second.lines)))
    assert (first.lines, second.lines) == ([], lines)


async def test_unreachable_endpoint_is_left(kit):
    lines = append(kit.log, 0, 50)
    async with kit.Sink() as gone:
        nobody = gone.url
    async with kit.Sink() as second:
        await run_until(kit.build(kit.folder, nobody, second.url), second.until(lambda: bool(second.lines)))
    assert second.lines == lines


async def test_batch_in_doubt_stays_with_its_endpoint(kit):
    lines = append(kit.log, 0, 50)
    async with kit.Sink("lose", 503, 503) as first, kit.Sink() as second:
        collector = kit.build(kit.folder, first.url, second.url)
        await run_until(collector, first.until(lambda: len(first.requests) == 4))
    assert (first.lines, second.lines) == (lines, [])
    assert collector.lanes[0].counts["in_doubt"] == 0


async def test_doubt_ends_after_a_time_and_is_counted(kit):
    lines = append(kit.log, 0, 50)
    async with kit.Sink(*["drop"] * 1000) as first, kit.Sink() as second:
        collector = kit.build(kit.folder, first.url, second.url, failover_after_secs=0.05)
        await run_until(collector, second.until(lambda: bool(second.lines)))
    assert second.lines == lines
    assert collector.lanes[0].counts["in_doubt"] == 50


@pytest.mark.parametrize("moment", ["kill", "kill stored"])
async def test_killed_while_a_batch_is_under_way(kit, moment):
    lines = append(kit.log, 0, 200)
    async with kit.Sink(moment) as sink:
        collector = kit.build(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        sink.on_kill = lambda: kit.kill(collector, task)
        await asyncio.wait([task])
        lines += append(kit.log, 200, 300)
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: len(sink.lines) >= 300))
    assert sink.lines == lines
    assert sink.requests[0] == sink.requests[1]


async def test_killed_before_anything_was_sent_it_knows_its_files(kit):
    lines = append(kit.log, 0, 20)
    async with kit.Sink() as sink:
        collector = kit.build(kit.folder, sink.url, batch_secs=60)
        task = asyncio.create_task(collector.run())
        await until((kit.folder / "data" / "checkpoint.json").exists)
        kit.kill(collector, task)
        await asyncio.wait([task])
        kit.log.rename(f"{kit.log}.1")
        lines += append(kit.log, 20, 40)
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: len(sink.lines) >= 40))
    assert sink.lines == lines


async def test_range_that_cannot_be_read_again_is_in_doubt(kit):
    append(kit.log, 0, 200)
    async with kit.Sink("kill") as sink:
        collector = kit.build(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        sink.on_kill = lambda: kit.kill(collector, task)
        await asyncio.wait([task])
        kit.log.write_text("something new\n")
        again = kit.build(kit.folder, sink.url)
        await run_until(again, sink.until(lambda: bool(sink.lines)))
    assert sink.lines == ["something new"]
    assert again.lanes[0].counts["in_doubt"] == 1


@pytest.mark.parametrize("seed", range(6))
async def test_any_accidents(kit, seed):
    """Appends, rotations, bad answers and kills at random; one daemon; each line once."""
    chance = random.Random(seed)
    lines, number = [], 0
    actions = ["kill", "kill stored", "lose", "drop", 503, 200, 200]
    async with kit.Sink(*chance.choices(actions, k=25), 200) as sink:
        while sink.actions:
            grown = chance.randint(1, 300)
            lines += append(kit.log, number, number + grown)
            number += grown
            collector = kit.build(kit.folder, sink.url, batch_bytes=4096, parallel=chance.choice((1, 2)))
            task = asyncio.create_task(collector.run())
            sink.on_kill = lambda collector=collector, task=task: kit.kill(collector, task)
            wanted = len(sink.requests) + chance.randint(1, 4)
            waiting = asyncio.create_task(
                sink.until(
                    lambda wanted=wanted, all_lines=frozenset(lines): (
                        len(sink.requests) >= wanted or set(sink.lines) >= all_lines
                    )
                )
            )
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            collector.stop()
            waiting.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if chance.random() < 0.3:
                kit.log.rename(kit.folder / "logs" / f"app.{number}.log")
        sink.on_kill = lambda: None
        await run_until(kit.build(kit.folder, sink.url, parallel=2), sink.until(lambda: set(sink.lines) >= set(lines)))
    assert sorted(sink.lines) == sorted(lines)


async def test_checkpoint_is_readable_and_versioned(kit):
    append(kit.log, 0, 3)
    async with kit.Sink() as sink:
        await run_until(kit.build(kit.folder, sink.url), sink.until(lambda: bool(sink.lines)))
    stored = json.loads((kit.folder / "data" / "checkpoint.json").read_text())
    assert stored["version"] == 2
    assert stored["streams"][0]["batch"] is None
    assert (kit.folder / "data" / "VERSION").exists()


async def test_second_collector_on_one_data_dir_is_refused(kit):
    append(kit.log, 0, 3)
    async with kit.Sink() as sink:
        collector = kit.build(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        await sink.until(lambda: bool(sink.lines))
        with pytest.raises(LockedError, match="in use"):
            await kit.build(kit.folder, sink.url).run()
        collector.stop()
        await task


async def test_another_number_of_streams_keeps_what_was_under_way_in_order(kit):
    """The file of a batch in doubt stays with its stream: a later batch on another one could be settled first."""
    append(kit.log, 0, 100)
    async with kit.Sink("kill") as sink:
        collector = kit.build(kit.folder, sink.url)
        task = asyncio.create_task(collector.run())
        sink.on_kill = lambda: kit.kill(collector, task)
        await asyncio.wait([task])
        append(kit.log, 100, 200)
        sink.actions = [503, 503, 503]
        await run_until(kit.build(kit.folder, sink.url, parallel=2), sink.until(lambda: len(sink.lines) >= 200))
    assert len({stream for stream, _ in sink.requests}) == 1
    assert sink.lines == [f"app.log {number} of a log" for number in range(200)]


@pytest.mark.parametrize("status", [404, 401])
async def test_what_only_a_person_can_mend_is_told_with_the_file(kit, status, caplog, monkeypatch):
    monkeypatch.setattr("collector.lane.SLOW_PAUSE_SECS", 0.01)
    append(kit.log, 0, 3)
    told = []
    async with kit.Sink(*[status] * 3) as sink:
        collector = kit.build(kit.folder, sink.url)

        def arrived():
            told.append(collector.trouble)
            return bool(sink.lines)

        await run_until(collector, sink.until(arrived))
        assert not collector.trouble
    held = f"; held by it: {kit.log} (project 'rs', ident 'rs.app', codec 'raw')"
    assert any(held in text and f"answered {status}" in text for text in told)
    (logged,) = [record.details["error"] for record in caplog.records if record.message.startswith("delivery failed")]
    assert logged.endswith(held)


def test_files_whose_codec_is_named_are_told_first():
    ranges = [Range("tail", "rs", "app", f"/f{n}", "raw", 0, 1) for n in range(9)]
    ranges.append(Range("tail", "rs", "app", "/bad", "regex", 0, 1))
    items = [Item(None, what, "", "", b"x", 1) for what in ranges]
    text = _told(items, "http://daemon:1 answered 404: 'codec \\'regex\\' reads frames only with columns'")
    assert text.startswith("/bad (project 'rs', ident 'app', codec 'regex'), /f0 ")
    assert text.endswith(" and 7 more")

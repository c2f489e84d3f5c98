"""A replay gives the answers that the live daemon gave, whatever became of the journal's bytes, and of the replay."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dpiped import registry
from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.journal.bound import Bound
from dpiped.journal.inspect import frames, look_all
from dpiped.journal.playback import open_playback
from dpiped.pack import Pack
from dpiped.plugin import Filter, PackDraft
from dpiped.replay import ReplayEngine, replay_config
from dpiped.telemetry import Telemetry
from dpiped.testing import events_in, post, running, until
from dpiped.testing.parts import NoConfig
from dpiped.view import PackView

AT = 1_700_000_000_000
LIVE = """
[journal]
keep_bytes = "1GiB"
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
"""
COUNT = """
[[filter]]
type = "aggregate"
name = "traffic"
window_secs = 10
slide_secs = 5
lateness_secs = 2
idle_secs = 0.5
max_ahead_secs = 1e9
group_by = ["area"]
metrics = { hits = { op = "count" } }
[[output]]
type = "file"
name = "stats"
match = ["traffic"]
path = "FOLDER/stats.ndjson"
"""
AGAIN = """
[[filter]]
type = "aggregate"
name = "areas"
match = ["traffic"]
window_secs = 20
idle_secs = 0.5
max_ahead_secs = 1e9
metrics = { areas = { op = "count" } }
[[output]]
type = "file"
name = "areas_out"
match = ["areas"]
path = "FOLDER/areas.ndjson"
"""


def tables(text: str, folder: Path) -> str:
    return text.replace("FOLDER", str(folder))


async def send(engine: Engine, packs: int, seed: int = 7) -> int:
    """Events that come in clusters, some late; the largest time among them."""
    dice = random.Random(seed)
    at, newest = AT, 0
    for number in range(packs):
        at += dice.randrange(4_000)
        stamps = [at - dice.randrange(6_000) for _ in range(5)]
        body = b"".join(
            json.dumps({"@timestamp": stamp, "area": dice.choice(["us", "de"]), "n": number}).encode() + b"\n"
            for stamp in stamps
        )
        status, _ = await post(engine, "rs/web", body)
        assert status == 200
        newest = max([newest, *stamps])
    return newest


async def replay(
    toml: str, folder: Path, data_dir: Path, start: Bound | None = None, end: Bound | None = None, stop_at: int = 0
) -> ReplayEngine:
    """Runs one to its end, or cancels it when it has given so many packs."""
    folder.mkdir(exist_ok=True)
    file = folder / "new.toml"
    file.write_text(f'[[project]]\nname = "rs"\n{toml}', encoding="utf-8")
    config = load_daemon_config(file)
    names = [table.name for table in (*config.filters, *config.outputs)]
    played = open_playback(data_dir, names, start, end)
    engine = ReplayEngine(replay_config(config, folder / "work"), Telemetry(), played)
    task = asyncio.create_task(engine.run())
    if stop_at:
        await until(lambda: task.done() or (engine.started.is_set() and engine.source.packs >= stop_at))
        task.cancel()
        await asyncio.wait((task,))
    else:
        await task
    played.close()
    return engine


def made(data_dir: Path, ident: str) -> list[bytes]:
    """The events of an ident in a journal, in order."""
    pack = Pack()
    bodies = []
    for frame in frames(data_dir, lambda head: head.ident == ident, lambda text: None):
        pack.fill(frame.head, frame.body, None)
        bodies.append(pack.body)
    return b"".join(bodies).splitlines()


async def test_windows_are_those_of_the_live_daemon(tmp_path: Path) -> None:
    async with running(LIVE + tables(COUNT, tmp_path / "live"), tmp_path) as engine:
        newest = await send(engine, 25)
        stats = tmp_path / "live/stats.ndjson"
        await until(lambda: any(event["window_start"] > newest - 5_000 for event in events_in(stats)))
        # nothing came, so ticks have closed all windows: this one is late, which only ticks can tell
        await post(engine, "rs/web", b'{"@timestamp":%d,"area":"us"}' % newest)
        await send(engine, 5, seed=8)
        ticks = engine.journal.next
        await until(lambda: engine.journal.next > ticks + 3)
        beside = await replay(tables(COUNT, tmp_path / "beside"), tmp_path / "beside", tmp_path / "dpiped")
        assert beside.source.events >= 151  # and what the daemon reported of late events
    live = made(tmp_path / "dpiped", "traffic")
    again = await replay(tables(COUNT, tmp_path / "again"), tmp_path / "again", tmp_path / "dpiped")
    answers = made(tmp_path / "again/work", "traffic")
    assert len(live) > 10
    assert answers[: len(live)] == live
    assert (tmp_path / "again/stats.ndjson").read_bytes().splitlines() == answers
    assert again.failed == []
    assert again.source.ended
    last = [head for found in look_all(tmp_path / "again/work") for head, _ in found.heads]
    assert max(head.accepted_ms for head in last) == again.source.accepted_ms
    # what was open when the live daemon stopped is closed at the end of a replay
    total = sum(json.loads(line)["hits"] for line in answers)
    assert total >= sum(json.loads(line)["hits"] for line in live)


async def test_a_daemon_in_batch_mode_gave_the_very_same(tmp_path: Path) -> None:
    demo = '[journal]\nkeep_bytes = "1GiB"\n[[input]]\ntype = "demo"\ncount = 3000\nrate = 100000\n'
    count = tables(COUNT, tmp_path / "live").replace('"area"', '"_area"')
    async with running(demo + count, tmp_path):
        await until((tmp_path / "live/stats.ndjson").exists)  # it closes windows by itself; a stop must not come first
    await replay(count.replace("/live/", "/again/"), tmp_path / "again", tmp_path / "dpiped")
    assert (tmp_path / "again/stats.ndjson").read_bytes() == (tmp_path / "live/stats.ndjson").read_bytes()


async def test_filters_of_filters_give_the_same_each_time(tmp_path: Path) -> None:
    async with running(LIVE + tables(COUNT, tmp_path / "live"), tmp_path) as engine:
        await send(engine, 20)
    answers = []
    for name in ("one", "two"):
        engine = await replay(tables(COUNT + AGAIN, tmp_path / name), tmp_path / name, tmp_path / "dpiped")
        assert engine.chained
        answers.append((tmp_path / name / "areas.ndjson").read_bytes())
        heads = [head for found in look_all(tmp_path / name / "work") for head, _ in found.heads]
        given = [head.offset for head in heads if head.cause is None]
        for head in heads:  # nothing was given between a pack and what was made of it
            assert head.cause is None or not any(head.cause[1] < offset < head.offset for offset in given)
    assert answers[0] == answers[1] != b""


async def test_a_replay_that_was_stopped_goes_on_exactly(tmp_path: Path) -> None:
    raw = '[[output]]\ntype = "file"\nname = "raw"\npath = "FOLDER/raw.ndjson"\n'
    async with running(LIVE + tables(COUNT, tmp_path / "live"), tmp_path) as engine:
        await send(engine, 150)
    whole = await replay(tables(COUNT + raw, tmp_path / "whole"), tmp_path / "whole", tmp_path / "dpiped")
    for stop_at in (1, 70, 0):
        last = await replay(
            tables(COUNT + raw, tmp_path / "cut"), tmp_path / "cut", tmp_path / "dpiped", stop_at=stop_at
        )
    assert last.source.packs < whole.source.packs
    assert whole.source.went_on is None
    assert last.source.went_on is not None
    for name in ("raw.ndjson", "stats.ndjson"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(events_in(tmp_path / "whole/raw.ndjson")) == 750


async def test_a_range_of_offsets_and_what_was_given_back(tmp_path: Path) -> None:
    raw = tables('[[output]]\ntype = "file"\nname = "raw"\npath = "FOLDER/raw.ndjson"\n', tmp_path)
    async with running(LIVE + tables(COUNT, tmp_path / "live"), tmp_path) as engine:
        await send(engine, 10)
    inputs = [
        head.offset
        for found in look_all(tmp_path / "dpiped")
        for head, _ in found.heads
        if head.cause is None and head.count and head.ident == "web"
    ]
    engine = await replay(raw, tmp_path, tmp_path / "dpiped", Bound(offset=inputs[3]), Bound(offset=inputs[6]))
    assert [event["n"] for event in events_in(tmp_path / "raw.ndjson")] == [n for n in (3, 4, 5) for _ in range(5)]
    assert engine.source.first >= inputs[3]
    assert engine.played.gone == 0


async def test_damage_is_said_and_left_out(tmp_path: Path) -> None:
    raw = tables('[[output]]\ntype = "file"\nname = "raw"\npath = "FOLDER/raw.ndjson"\n', tmp_path)
    async with running(LIVE + tables(COUNT, tmp_path / "live"), tmp_path) as engine:
        await send(engine, 10)
    (path,) = (tmp_path / "dpiped/journal").glob("*.seg")
    data = bytearray(path.read_bytes())
    data[data.index(b'"n": 4')] ^= 1
    path.write_bytes(data)
    engine = await replay(raw, tmp_path, tmp_path / "dpiped")
    assert {event["n"] for event in events_in(tmp_path / "raw.ndjson")} == set(range(10)) - {4}
    assert len(engine.played.damage) == 1


async def test_what_is_missing_is_said(tmp_path: Path) -> None:
    raw = tables('[[output]]\ntype = "file"\nname = "raw"\npath = "FOLDER/raw.ndjson"\n', tmp_path)
    async with running(LIVE + tables(COUNT, tmp_path / "live"), tmp_path) as engine:
        for _ in range(3):
            engine.journal.storage._good = 1 << 40  # type: ignore[attr-defined] # each begins a segment
            await send(engine, 1)
    gone = sorted((tmp_path / "dpiped/journal").glob("*.seg"))[1]
    gone.unlink()
    engine = await replay(raw, tmp_path, tmp_path / "dpiped")
    (told,) = engine.played.damage
    assert told.endswith("missing")
    assert str(int(gone.stem)) in told


class Choosy(Filter[NoConfig]):
    """Raises over events with an odd n."""

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        if b'"n": 1' in pack.body or b'"n": 3' in pack.body:
            raise ValueError("odd")
        yield PackDraft(pack.body, pack.count, pack.head.min_ts, pack.head.max_ts)


class Taking(Choosy):
    """The same after it was mended."""

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        yield PackDraft(pack.body, pack.count, pack.head.min_ts, pack.head.max_ts)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    monkeypatch.setattr(registry, "_plugins", dict(registry._plugins))
    monkeypatch.setattr("dpiped.runner.RESTART_INITIAL_SECS", 0.005)
    registry.register("choosy")(Choosy)
    registry.register("taking")(Taking)


@pytest.mark.usefixtures("plugins")
async def test_what_a_filter_was_told_to_skip_is_skipped_again(tmp_path: Path) -> None:
    choosy = '[[filter]]\ntype = "choosy"\nname = "NAME"\nerror_tries = 2\nident = "made"\n'
    out = '[[output]]\ntype = "file"\nmatch = ["made"]\npath = "FOLDER/made.ndjson"\n'
    async with running(LIVE + tables(choosy.replace("NAME", "flt") + out, tmp_path / "live"), tmp_path) as engine:
        for number in range(5):
            await post(engine, "rs/web", b'{"n": %d}' % number)
            await until(lambda: not engine.runners[0].reader.behind)
        await until(lambda: len(events_in(tmp_path / "live/made.ndjson")) == 3)
    mended = choosy.replace("choosy", "taking")
    for name, kept in (("flt", [0, 2, 4]), ("other", [0, 1, 2, 3, 4])):
        folder = tmp_path / name
        await replay(tables(mended.replace("NAME", name) + out, folder), folder, tmp_path / "dpiped")
        assert [event["n"] for event in events_in(folder / "made.ndjson")] == kept


async def test_what_the_daemon_frees_meanwhile_is_still_replayed(tmp_path: Path) -> None:
    raw = tables('[[output]]\ntype = "file"\nname = "raw"\npath = "FOLDER/raw.ndjson"\n', tmp_path)
    async with running(LIVE + tables(COUNT, tmp_path / "live"), tmp_path) as engine:
        await send(engine, 10)
    file = tmp_path / "x.toml"
    file.write_text(f'[[project]]\nname = "rs"\n{raw}')
    config: Any = load_daemon_config(file)
    played = open_playback(tmp_path / "dpiped", ["raw"])
    shutil.rmtree(tmp_path / "dpiped")
    await ReplayEngine(replay_config(config, tmp_path / "work"), Telemetry(), played).run()
    played.close()
    assert len(events_in(tmp_path / "raw.ndjson")) == 50

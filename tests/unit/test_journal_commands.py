"""`dpiped journal ..` on a data_dir without a daemon: what is shown, written, taken away, and how it is counted."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dpiped import lock
from dpiped.batch import Batch
from dpiped.cli import main
from dpiped.journal.inspect import look_all, missing
from dpiped.lock import DataDir
from dpiped.pack import Route
from dpiped.plugin import Filter, Output, PackDraft, StatefulFilter
from dpiped.testing import until
from dpiped.testing.parts import NoConfig, Parts, parts
from dpiped.view import PackView

SEGMENT = 4096


class Keep(Output[NoConfig]):
    """Keeps what it got, in the class."""

    got: list[tuple[str, bytes]]

    async def write(self, batch: Batch) -> None:
        self.got += zip(batch.names(), batch.bodies, strict=True)


class Count(StatefulFilter[NoConfig]):
    """Emits how many packs it has seen."""

    def __init__(self, config: NoConfig, context: Any) -> None:
        super().__init__(config, context)
        self.seen = 0

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        self.seen += 1
        yield PackDraft(b'{"@timestamp":1,"seen":%d}\n' % self.seen, 1, 1, 1)

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        return [(b"seen", str(self.seen).encode())]

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for _, value in items:
            self.seen = int(value)


def event(number: int) -> bytes:
    return b'{"@timestamp":%d,"n":%d,"pad":"%s"}\n' % (number, number, os.urandom(200).hex().encode())


def kind(base: type[Any]) -> type[Any]:
    return type(base.__name__, (base,), {"got": []})


async def folder_with(data_dir: Path, packs: int = 30, **head: Any) -> None:
    """A data_dir as a daemon leaves it: packs 0.., accepted a second apart, in several segments."""
    data_dir.mkdir(exist_ok=True)
    owner = DataDir(data_dir)
    owner.lock()
    async with parts(data_dir, segment_bytes=SEGMENT) as world:
        for number in range(packs):
            await world.append(event(number), accepted_ms=1_700_000_000_000 + 1000 * number, **head)
    owner.unlock()


async def cursor_of(data_dir: Path, plugin: type[Any], packs: int, **options: Any) -> None:
    """A runner that has read so many packs and then stopped."""
    async with parts(data_dir, segment_bytes=SEGMENT) as world:
        runner = make(world, plugin, **options)
        await world.start(runner)
        await until(lambda: runner.packs == packs)
        await world.stop(runner)


def make(world: Parts, plugin: type[Any], **options: Any) -> Any:
    return world.filter(plugin, **options) if issubclass(plugin, Filter) else world.output(plugin, **options)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def journal(capsys: pytest.CaptureFixture[str], data_dir: Path, action: str, *more: object) -> tuple[int, str, str]:
    return run(capsys, "journal", action, "--data-dir", data_dir, *more)


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    await folder_with(tmp_path / "d", host="web-7", source="/x.log")
    return tmp_path / "d"


def damage(data_dir: Path, number: int) -> Path:
    """Flips a bit in the middle of the body of the second pack of a segment."""
    path = sorted((data_dir / "journal").glob("*.seg"))[number]
    data = bytearray(path.read_bytes())
    at = data.index(b'"pad"', data.index(b'"pad"') + 1) + 20
    data[at] ^= 1
    path.write_bytes(data)
    return path


# ---- look ----------------------------------------------------------------------------------------------------------
def test_ls_has_a_line_for_each_segment(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = journal(capsys, data_dir, "ls")
    lines = [line.split() for line in out.splitlines()]
    assert status == 0
    assert len(lines) - 1 == len(list((data_dir / "journal").glob("*.seg"))) > 3
    assert lines[1][1] == "0"
    assert lines[-1][2] == "30"
    assert sum(int(line[7]) for line in lines[1:]) == 30
    assert lines[1][3] == "2023-11-14T22:13:20Z"


async def test_stat_tells_routes_and_what_is_behind(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await cursor_of(data_dir, kind(Count), 30)
    status, out, _ = await asyncio.to_thread(journal, capsys, data_dir, "stat")
    assert status == 0
    assert "60 packs, 60 events" in out
    rows = [line.split()[:5] for line in out.splitlines()]
    assert ["rs", "app", "input", "30", "30"] in rows
    assert ["rs", "made", "filter", "30", "30"] in rows
    assert ["flt", "filter", "test", "60", "1"] in rows


def test_verify_is_content_with_a_whole_journal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = journal(capsys, data_dir, "verify")
    assert (status, out.count("\n")) == (0, 1)
    assert "30 packs are whole; 0 problems" in out


def test_verify_finds_a_flipped_bit(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = damage(data_dir, 1).name
    status, out, _ = journal(capsys, data_dir, "verify")
    assert status == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"{name}: pack ")
    assert "wrong checksum" in lines[0]
    assert "is missing" in lines[1]
    assert "29 packs are whole; 2 problems" in lines[2]


def test_verify_finds_a_segment_that_is_gone(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sorted((data_dir / "journal").glob("*.seg"))[2].unlink()
    status, out, _ = journal(capsys, data_dir, "verify")
    assert status == 1
    assert " are missing" in out.splitlines()[0]


def test_an_unfinished_tail_is_no_damage_and_not_shown(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = sorted((data_dir / "journal").glob("*.seg"))[-1]
    group = last.read_bytes()
    with last.open("ab") as file:
        file.write(group[:100])
    status, out, _ = journal(capsys, data_dir, "verify")
    assert status == 0
    assert "bytes behind the last group, which nobody was promised" in out
    assert "30 packs are whole" in out
    status, out, _ = journal(capsys, data_dir, "export")
    assert (status, out.count("\n")) == (0, 30)


def test_what_the_daemon_gives_back_meanwhile_is_not_missing(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted((data_dir / "journal").glob("*.seg"))
    monkeypatch.setattr("dpiped.journal.inspect.segment_paths", lambda folder: paths)
    paths[0].unlink()
    paths[1].unlink()
    status, out, _ = journal(capsys, data_dir, "verify")
    assert (status, "0 problems" in out) == (0, True)


def test_looking_changes_nothing(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def all_files() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in data_dir.rglob("*")}

    before = all_files()
    for action in ("ls", "stat", "verify", "export", "cursors"):
        assert journal(capsys, data_dir, action)[0] == 0
    assert all_files() == before


def test_no_journal_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = journal(capsys, tmp_path, "ls")
    assert (status, err.count("\n")) == (1, 1)
    assert "has no folder `journal`" in err
    status, _, err = run(capsys, "journal", "ls")
    assert (status, err) == (2, "dpiped: name a config by -c FILE, or a data_dir by --data-dir DIR\n")


# ---- export --------------------------------------------------------------------------------------------------------
async def test_export_picks(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with parts(data_dir) as world:
        await world.append(event(30), ident="app.x", project="other", accepted_ms=1_700_000_100_000)
        await world.append(event(31), ident="_dpipe.events", accepted_ms=1_700_000_100_000)

    def numbers(*more: object) -> list[int]:
        status, out, _ = journal(capsys, data_dir, "export", *more)
        assert status == 0
        return [int(line.split('"n":')[1].split(",")[0]) for line in out.splitlines()]

    assert numbers() == list(range(31))
    assert numbers("--from", 10, "--to", 13) == [10, 11, 12]
    assert numbers("--from", "2023-11-14T22:13:45Z", "--to", "2023-11-14T22:13:47Z") == [25, 26]
    assert numbers("--from", "-1s") == []
    assert numbers("--ident", "app.*") == [30]
    assert numbers("--ident", "app", "--ident", "app.*", "--from", 29) == [29, 30]
    assert numbers("--project", "other") == [30]
    assert numbers("--ident", "_dpipe.**") == [31]
    file = tmp_path / "out.ndjson"
    status, out, _ = journal(capsys, data_dir, "export", "--metadata", "--to", 2, "--output", file)
    assert (status, out) == (0, f"{file}: 2 events of 2 packs\n")
    assert [line.rpartition('","')[2] for line in file.read_text().splitlines()] == ['_source":"/x.log"}'] * 2
    assert file.stat().st_mode & 0o777 == 0o640
    status, _, err = journal(capsys, data_dir, "export", "--output", file)
    assert (status, "is there already" in err) == (1, True)
    status, _, err = journal(capsys, data_dir, "export", "--output", tmp_path / "none" / "x")
    assert (status, err.count("\n")) == (1, 1)
    assert "none/x cannot be written: No such file or directory; name one in a folder that is there" in err


def test_export_leaves_out_what_is_damaged_and_says_so(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = damage(data_dir, 1).name
    status, out, err = journal(capsys, data_dir, "export")
    assert (status, out.count("\n"), err.count("\n")) == (1, 29, 1)
    assert f"left out: {name}: pack at byte" in err


def test_export_says_what_is_missing_where_it_was_asked_for(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((data_dir / "journal").glob("*.seg"))
    low, high = int(paths[2].stem), int(paths[3].stem)
    paths[2].unlink()
    told = f"dpiped: left out: offsets {low} to {high - 1} are missing\n"
    status, out, err = journal(capsys, data_dir, "export")
    assert (status, out.count("\n"), err) == (1, 30 - (high - low), told)
    moment = "2023-11-14T22:13:{:02}Z"
    for some in (("--to", low), ("--from", high), ("--from", moment.format(21 + high))):
        assert journal(capsys, data_dir, "export", *some)[::2] == (0, "")
    for some in (("--from", low), ("--to", high), ("--from", high - 1), ("--from", low, "--to", high)):
        assert journal(capsys, data_dir, "export", *some)[::2] == (1, told)
    status, _, err = journal(capsys, data_dir, "export", "--from", 5, "--to", 5)
    assert (status, "is not behind" in err) == (2, True)


# ---- drop ----------------------------------------------------------------------------------------------------------
async def test_drop_tells_first_and_the_next_start_counts(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await cursor_of(data_dir, kind(Keep), 0, disabled=True, name="out")
    await cursor_of(data_dir, kind(Keep), 0, disabled=True, name="other", match=["nothing.**"])
    segments = sorted((data_dir / "journal").glob("*.seg"))
    gone = int(segments[3].stem)

    def drop(*more: object) -> tuple[int, str, str]:
        return journal(capsys, data_dir, "drop", "--before", gone + 1, *more)

    status, out, _ = await asyncio.to_thread(drop)
    assert status == 0
    assert f"3 segments, {gone} packs".split(", ")[1] in out
    assert f"not read by output out: up to {gone} packs, {gone} events" in out
    assert "nothing was dropped: say --yes to do it" in out
    assert sorted((data_dir / "journal").glob("*.seg")) == segments
    status, out, _ = await asyncio.to_thread(drop, "--yes")
    assert (status, out.splitlines()[-1]) == (0, "dropped")
    assert sorted((data_dir / "journal").glob("*.seg")) == segments[3:]
    plugin = kind(Keep)
    async with parts(data_dir, segment_bytes=SEGMENT) as world:
        runner, other = world.output(plugin), world.output(kind(Keep), name="other", match=["nothing.**"])
        await world.start(runner, other)
        await until(lambda: runner.packs == 30 - gone)
        lost = world.telemetry.metrics.lost
        assert lost.labels("out")._value.get() == gone
        assert lost.labels("other")._value.get() == 0
        assert lost.labels("journal")._value.get() == 0
    async with parts(data_dir, segment_bytes=SEGMENT) as world:
        await world.start(world.output(plugin))
        assert world.telemetry.metrics.lost.labels("out")._value.get() == 0


async def test_drop_leaves_what_tells_the_last_batch(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (await asyncio.to_thread(journal, capsys, data_dir, "drop", "--before", "999", "--yes"))[0] == 0
    assert len(list((data_dir / "journal").glob("*.seg"))) == 1
    async with parts(data_dir) as world:
        assert world.journal.next == 30


async def test_drop_by_time(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = list(look_all(data_dir))
    at = found[2].heads[0][0].accepted_ms // 1000
    text = f"2023-11-14T22:{(at - 1_700_000_000 + 20) // 60 + 13:02}:{(at - 1_700_000_000 + 20) % 60:02}Z"
    assert (await asyncio.to_thread(journal, capsys, data_dir, "drop", "--before", text, "--yes"))[0] == 0
    assert next(iter(look_all(data_dir))).first == found[2].first
    assert missing(list(look_all(data_dir))) == []


def test_changes_need_the_lock(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    owner = lock.DataDir(data_dir)
    owner.lock()
    for change in (("drop", "--before", "5", "--yes"), ("cursors", "set", "out", "latest")):
        status, _, err = journal(capsys, data_dir, *change)
        assert (status, err.count("\n")) == (3, 1)
        assert "is in use by process" in err
    status, _, err = journal(capsys, data_dir, "cursors")
    assert (status, err.count("\n")) == (1, 1)
    assert "a daemon runs on" in err
    assert journal(capsys, data_dir, "ls")[0] == 0
    owner.unlock()


# ---- cursors -------------------------------------------------------------------------------------------------------
async def test_a_replay_into_an_output_has_new_names(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = kind(Keep)
    await cursor_of(data_dir, plugin, 30)
    first = list(plugin.got)
    status, out, _ = await asyncio.to_thread(journal, capsys, data_dir, "cursors", "set", "out", 20)
    assert (status, out) == (0, "output out: cursor 30 -> 20, generation 2\n")
    await cursor_of(data_dir, plugin, 10)
    assert plugin.got[30:] == [(f"{name}.2", body) for name, body in first[20:]]


async def test_a_replay_into_a_filter_starts_empty_and_is_exact(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await cursor_of(data_dir, kind(Count), 30)
    status, out, _ = await asyncio.to_thread(journal, capsys, data_dir, "cursors", "set", "flt", "earliest")
    assert status == 0
    assert "filter flt: cursor" in out
    assert "generation 2" in out
    aside = list((data_dir / "quarantine").iterdir())
    assert [str(aside[0]) in out, len(aside)] == [True, 1]
    assert aside[0].stat().st_mode & 0o777 == 0o640
    crashed = tmp_path / "crashed"
    async with parts(data_dir, snapshot_interval_secs=0.01) as world:
        runner = world.filter(kind(Count), match=["app"])
        await world.start(runner)
        await until(lambda: runner.packs >= 12)
        shutil.copytree(data_dir, crashed)
        await until(lambda: runner.packs == 30)
        assert emissions(world) == [("flt", n + 1) for n in range(30)] + [("flt.2", n + 1) for n in range(30)]
    async with parts(crashed) as world:
        await world.start(runner := world.filter(kind(Count), match=["app"]))
        await until(lambda: not runner.reader.behind)
        assert emissions(world) == [("flt", n + 1) for n in range(30)] + [("flt.2", n + 1) for n in range(30)]


async def test_a_lost_state_emits_nothing_of_a_replay_again(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await cursor_of(data_dir, kind(Count), 30, match=["app"])
    await asyncio.to_thread(journal, capsys, data_dir, "cursors", "set", "flt", "25")
    async with parts(data_dir) as world:
        await world.append(event(30), event(31))
    await cursor_of(data_dir, kind(Count), 7, match=["app"])
    shutil.rmtree(data_dir / "state")
    async with parts(data_dir) as world:
        await world.start(runner := world.filter(kind(Count), match=["app"]))
        await until(lambda: runner.packs == 32)
        assert [name for name, _ in emissions(world)] == ["flt"] * 30 + ["flt.2"] * 7


def emissions(world: Parts) -> list[tuple[str, int]]:
    frames, _ = world.journal.storage.read(0, lambda route: route == Route("rs", "made", True, ""), 1 << 30)
    return [
        (frame.head.cause[0], int(frame.body.split(b'"seen":')[1].split(b"}")[0]))
        for frame in frames
        if frame.head.cause
    ]


async def test_going_forward_is_counted(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await cursor_of(data_dir, kind(Keep), 0, disabled=True)
    status, out, _ = await asyncio.to_thread(journal, capsys, data_dir, "cursors", "set", "out", "latest")
    assert (status, "it skips up to 30 packs" in out) == (0, True)
    async with parts(data_dir) as world:
        await world.start(runner := world.output(kind(Keep)))
        assert runner.reader.cursor == 30
        assert world.telemetry.metrics.lost.labels("out")._value.get() == 30


async def test_what_is_no_cursor_is_said(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await cursor_of(data_dir, kind(Keep), 30)
    for expected, change, text in (
        (1, ("set", "uot", "5"), 'there is no cursor of "uot"; did you mean "out"?'),
        (1, ("set", "out", "31"), "offset 31 is not in the journal, which holds 0 to 30"),
        (2, ("set", "out", "middle"), '"middle": expected earliest, latest or an offset'),
        (2, ("sat", "out", "5"), '"sat out 5": expected set RUNNER earliest|latest|OFFSET'),
    ):
        status, _, err = await asyncio.to_thread(journal, capsys, data_dir, "cursors", *change)
        assert (status, err) == (expected, f"dpiped: {text}\n")
    status, out, _ = await asyncio.to_thread(journal, capsys, data_dir, "cursors")
    assert out.splitlines()[1].split() == ["out", "output", "test", "30", "1"]

"""Output `file`: whatever moment a crash or a failure picks, every line is there once and whole."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dpiped.files import write_all
from dpiped.testing import until
from dpiped.testing.parts import Parts, parts
from plugins.outputs.file import FileConfig, FileOutput

AT = 1_700_000_000_000


pytestmark = pytest.mark.usefixtures("no_long_pauses")


def event(number: int, at: int = AT) -> bytes:
    return b'{"@timestamp":%d,"n":%d}\n' % (at, number)


def numbers(*paths: Path) -> list[int]:
    return [json.loads(line)["n"] for path in paths if path.exists() for line in path.read_bytes().splitlines()]


def output(world: Parts, path: Path | str, retry: float = 0.01, **config: Any) -> Any:
    return world.output(
        FileOutput,
        FileConfig(path=str(path), **config),
        retry={"initial_secs": retry, "max_secs": retry},
        metadata=False,
    )


async def test_bodies_reach_the_file_as_they_are(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = output(world, tmp_path / "{project}" / "{ident}.ndjson")
        await world.start(runner)
        odd = '{"@timestamp":1,"a":"käse \\u2028 \\n {}","b":[1,{"c":null}],"":"x"}\n'.encode()
        await world.append(odd, event(1), ident="web.x")
        await until(lambda: runner.saved.cursor == 2)
        assert (tmp_path / "rs" / "web.x.ndjson").read_bytes() == odd + event(1)


async def test_an_existing_file_is_appended_to(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(event(-1))
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
    assert numbers(out) == [-1, 0]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
async def test_killed_at_any_moment_every_line_is_there_once(tmp_path: Path, compression: str) -> None:
    """Output file and folders are copied while everything runs, and put back in place under the next daemon."""
    chance = random.Random(11)
    data, out = tmp_path / "data", tmp_path / "out"
    sent = 0
    for turn in range(10):
        saved = tmp_path / f"saved{turn}"
        async with parts(data) as world:
            runner = output(world, out / "log", compression=compression)
            await world.start(runner)
            for _ in range(chance.randrange(1, 6)):
                await world.append(event(sent))
                sent += 1
                for _ in range(chance.randrange(20)):
                    await asyncio.sleep(0.001 * chance.random())
            await asyncio.to_thread(_copy_as_killed, data, out, saved)
        shutil.rmtree(data)
        shutil.move(saved / "data", data)
        _put_back(saved / "out", out)
    async with parts(data) as world:
        runner = output(world, out / "log", compression=compression)
        await world.start(runner)
        await until(lambda: runner.status == "running" and not runner.reader.behind)
    content = (out / "log").read_bytes()
    if compression == "gzip":
        content = gzip.decompress(content)
    elif compression == "zstd":
        content = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()
    assert content == b"".join(event(n) for n in range(sent))


def _copy_as_killed(data: Path, out: Path, saved: Path) -> None:
    """Cursors first, outputs last: what is in a file at a kill can only be more than its saved size."""
    for name in ("state", "deadletter"):
        shutil.copytree(data / name, saved / "data" / name, ignore=shutil.ignore_patterns("LOCK"))
    shutil.copytree(data / "journal", saved / "data" / "journal")
    shutil.copytree(out, saved / "out")


def _put_back(saved: Path, out: Path) -> None:
    """The bytes of the moment of the kill, in the files (and inodes) that were there then."""
    for path in out.iterdir():
        copy = saved / path.name
        os.truncate(path, 0)
        path.write_bytes(copy.read_bytes() if copy.exists() else b"")


async def test_what_stands_behind_the_saved_size_is_cut_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    async with parts(tmp_path) as world:
        await world.start(output(world, out))
        await world.append(event(0))
        await until(lambda: numbers(out) == [0])
    with out.open("ab") as file:
        file.write(b"foreign\n")
    with caplog.at_level("INFO"):
        async with parts(tmp_path) as world:
            runner = output(world, out)
            await world.start(runner)
            await until(lambda: runner.status == "running")
    assert out.read_bytes() == event(0)
    assert "file is cut back" in caplog.text


async def test_a_replaced_file_is_never_cut(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
    new = tmp_path / "new"
    new.write_bytes(b"precious\n" * 20)
    new.replace(out)
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await world.append(event(1))
        await until(lambda: runner.saved.cursor == 2)
    assert out.read_bytes() == b"precious\n" * 20 + event(1)


async def test_what_goes_into_a_replaced_file_is_announced_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first append to the other inode, the next start knows where to cut it."""
    out = tmp_path / "out"
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
    out.rename(tmp_path / "moved")
    monkeypatch.setattr("dpiped.runner.SAVE_SECS", 100.0)
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await until(lambda: runner.status == "running")
        runner._saved_at = float("inf")
        await world.append(event(1))
        await until(lambda: numbers(out) == [1])
        shutil.copytree(tmp_path / "state", tmp_path / "state2", ignore=shutil.ignore_patterns("LOCK"))
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "state2").rename(tmp_path / "state")
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await until(lambda: runner.packs == 1)
    assert numbers(out) == [1]


async def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
        out.rename(tmp_path / "moved")
        sent = 1
        while not out.exists():
            await world.append(event(sent))
            sent += 1
            await until(lambda: runner.saved.cursor == sent)  # noqa: B023
    assert numbers(tmp_path / "moved", out) == list(range(sent))


class Full:
    """Stands for `write_all` on a full disk: takes a part, then nothing, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, take: int = 5) -> None:
        self.on = False
        self.refused = 0
        self._take = take
        monkeypatch.setattr("plugins.outputs.file.write_all", self.write)

    def write(self, fd: int, pieces: Sequence[bytes]) -> int:
        if not self.on:
            return write_all(fd, pieces)
        write_all(fd, [b"".join(pieces)[: self._take]])
        self._take = 0
        self.refused += 1
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_a_full_disk_tears_and_doubles_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    full = Full(monkeypatch)
    out = tmp_path / "out-{ident}"
    async with parts(tmp_path) as world:
        runner = output(world, out, compression=compression)
        await world.start(runner)
        await world.append(event(0), ident="a")
        await until(lambda: runner.saved.cursor == 1)
        full.on = True
        await world.append(event(1), ident="b")
        await world.append(event(2), ident="a")
        await until(lambda: full.refused > 2)
        full.on = False
        await until(lambda: runner.saved.cursor == 3)
        read: Callable[[Path], bytes] = (
            Path.read_bytes if compression == "none" else (lambda path: gzip.decompress(path.read_bytes()))
        )
        assert read(tmp_path / "out-a") == event(0) + event(2)
        assert read(tmp_path / "out-b") == event(1)
        assert world.around.deadletters.count == 0


async def test_a_failed_cut_starts_again_from_the_saved_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, out = Full(monkeypatch), tmp_path / "out"
    truncate, cuts = os.ftruncate, [0]

    def fails_once(fd: int, size: int) -> None:
        cuts[0] += 1
        if cuts[0] == 1:
            raise OSError(5, "Input/output error")
        truncate(fd, size)

    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
        full.on = True
        monkeypatch.setattr("plugins.outputs.file.os.ftruncate", fails_once)
        await world.append(event(1))
        await until(lambda: full.refused > 1)
        full.on = False
        await until(lambda: runner.saved.cursor == 2)
    assert numbers(out) == [0, 1]


async def test_a_stop_while_it_writes_leaves_no_line_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go = threading.Event(), threading.Event()

    def slow(fd: int, pieces: Sequence[bytes]) -> int:
        writing.set()
        assert go.wait(10)
        return write_all(fd, pieces)

    out = tmp_path / "out"
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
        monkeypatch.setattr("plugins.outputs.file.write_all", slow)
        await world.append(event(1))
        await until(writing.is_set)
        stop = asyncio.create_task(world.stop(runner))
        await asyncio.sleep(0)
        go.set()
        await stop
    async with parts(tmp_path) as world:
        runner = output(world, out)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 2)
    assert numbers(out) == [0, 1]


async def test_rotation_by_size_numbers_the_files_and_goes_on_with_the_newest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for turn in range(2):
        async with parts(tmp_path) as world:
            runner = output(world, out, rotate_bytes=100)
            await world.start(runner)
            for n in range(turn * 10, turn * 10 + 10):
                await world.append(event(n))
                await until(lambda: runner.saved.cursor == n + 1)  # noqa: B023
    files = [out, *(tmp_path / f"out.{n}" for n in range(1, len(list(tmp_path.glob("out*")))))]
    assert numbers(*files) == list(range(20))
    assert len(files) >= 4
    assert all(100 <= path.stat().st_size < 150 for path in files[:-1])


async def test_rotation_by_age_goes_on_with_the_newest(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(event(-2))
    (tmp_path / "out.1").write_bytes(event(-1))
    async with parts(tmp_path) as world:
        runner = output(world, tmp_path / "out", rotate_secs=3600)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
    assert numbers(tmp_path / "out.1") == [-1, 0]


async def test_times_of_events_choose_the_file(tmp_path: Path) -> None:
    day = 86_400_000
    async with parts(tmp_path) as world:
        runner = output(world, tmp_path / "%Y-%m-%d", time="event")
        await world.start(runner)
        body = b"".join(event(n, AT + (n % 3) * day) for n in range(9))
        await world.append(body, min_ts=AT, max_ts=AT + 2 * day)
        await world.append(event(9, AT), min_ts=AT, max_ts=AT)
        await until(lambda: runner.saved.cursor == 2)
    assert numbers(tmp_path / "2023-11-14") == [0, 3, 6, 9]
    assert numbers(tmp_path / "2023-11-15") == [1, 4, 7]
    assert numbers(tmp_path / "2023-11-16") == [2, 5, 8]


async def test_few_files_stay_open(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = output(world, tmp_path / "{ident}", max_open_files=2)
        await world.start(runner)
        for n in range(20):
            await world.append(event(n), ident=f"i{n % 5}")
        await until(lambda: runner.saved.cursor == 20)
        assert len(runner._plugin._files) <= 2
    for n in range(5):
        assert numbers(tmp_path / f"i{n}") == [n, n + 5, n + 10, n + 15]


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_a_file_that_is_closed_and_opened_again_between_two_cursors_is_not_cut_back(
    tmp_path: Path, compression: str
) -> None:
    async def run(first: int) -> None:
        async with parts(tmp_path) as world:
            runner = output(world, tmp_path / "{ident}", max_open_files=2, compression=compression)
            await world.start(runner)
            for n in range(first, first + 20):
                await world.append(event(n), ident=f"i{n % 5}")
            await until(lambda: runner.reader.cursor == first + 20)

    for first in (0, 20, 40):  # each begins with the files as the cursor of the one before it knows them
        await run(first)
    for n in range(5):
        data = (tmp_path / f"i{n}").read_bytes()
        lines = b"".join(map(event, range(n, 60, 5)))
        assert (gzip.decompress(data) if compression == "gzip" else data) == lines


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_a_batch_may_need_more_files_than_stay_open(tmp_path: Path, compression: str) -> None:
    async with parts(tmp_path) as world:
        runner = output(world, tmp_path / "out" / "{ident}", max_open_files=10, compression=compression)
        for n in range(100):
            await world.append(event(n), ident=f"i{n % 50}")
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 100)
        assert len(runner._plugin._files) <= 10
    for n in range(50):
        data = (tmp_path / "out" / f"i{n}").read_bytes()
        assert (gzip.decompress(data) if compression == "gzip" else data) == event(n) + event(n + 50)


async def test_no_more_files_than_allowed_are_open_while_a_batch_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch with more paths than the process may open is no reason to fail for ever."""
    most = 0
    append = FileOutput._append

    def counting(self: FileOutput, *arguments: Any) -> None:
        nonlocal most
        most = max(most, len(self._files))
        append(self, *arguments)

    monkeypatch.setattr(FileOutput, "_append", counting)
    async with parts(tmp_path) as world:
        runner = output(world, tmp_path / "{ident}", max_open_files=7)
        for n in range(60):
            await world.append(event(n), ident=f"i{n % 30}")
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 60)
    assert 0 < most <= 7


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_what_fails_in_the_middle_of_many_files_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    left = 3
    append = FileOutput._append

    def failing(self: FileOutput, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, *arguments)

    monkeypatch.setattr(FileOutput, "_append", failing)
    async with parts(tmp_path) as world:
        runner = output(world, tmp_path / "out" / "{ident}", max_open_files=5, compression=compression)
        for n in range(40):
            await world.append(event(n), ident=f"i{n % 20}")
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 40)
    assert left < 0
    for n in range(20):
        data = (tmp_path / "out" / f"i{n}").read_bytes()
        assert (gzip.decompress(data) if compression == "gzip" else data) == event(n) + event(n + 20)


async def test_a_folder_that_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    blocker = tmp_path / "logs"
    blocker.write_bytes(b"in the way")
    async with parts(tmp_path) as world:
        runner = output(world, blocker / "out")
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.status == "retrying")
        blocker.unlink()
        await until(lambda: runner.saved.cursor == 1)
    assert numbers(blocker / "out") == [0]


async def test_a_file_that_another_output_writes_is_not_touched(tmp_path: Path) -> None:
    """A link leads to it; `check` cannot see that. Whoever cuts back after a crash must be the only one who wrote."""
    file, link = tmp_path / "a.ndjson", tmp_path / "b.ndjson"
    file.touch()
    link.symlink_to(file)
    async with parts(tmp_path) as world:
        first = output(world, file)
        await world.start(first)
        await world.append(event(1))
        await until(lambda: numbers(file) == [1])
        second = world.output(
            FileOutput,
            FileConfig(path=str(link)),
            name="second",
            start="earliest",
            retry={"initial_secs": 0.01, "max_secs": 0.01},
        )
        await world.start(second)
        await until(lambda: "written by the output 'out' too" in second.last_error)
        await world.append(event(2))
        await until(lambda: numbers(file) == [1, 2])
        await world.stop(first)  # gives its files back
        await until(lambda: numbers(file) == [1, 2, 1, 2])

"""Segments that are missing at a start: what was lost is counted once, at that start; what was given back is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dpiped.engine import Engine
from dpiped.journal.bound import Bound
from dpiped.maintain import cut, plan_cut
from dpiped.offline import owned
from dpiped.testing import events_in, post, running, until

CONFIG = """
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
[[output]]
type = "file"
name = "late"
"""


pytestmark = pytest.mark.usefixtures("no_long_pauses")


def config(path: Path) -> str:
    return f'{CONFIG}path = "{path}"\n'


async def fill(engine: Engine, first: int) -> None:
    """Three packs or more, each in a segment of its own."""
    for n in range(first, first + 3):
        engine.journal.storage._good = 1 << 40  # type: ignore[attr-defined] # each begins a segment
        await post(engine, "rs/app", b'{"@timestamp":%d,"n":%d}\n' % (1_700_000_000_000 + n, n))


def lost(engine: Engine, place: str) -> float:
    return engine.telemetry.metrics.registry.get_sample_value("dpipe_lost_packs_total", {"place": place}) or 0.0


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "dpiped" / "journal").glob("*.seg"))


def block(path: Path) -> Path:
    """Nothing can be written below it until it is removed."""
    path.write_bytes(b"")
    return path


async def test_segments_that_somebody_deleted_are_counted_and_freed_ones_are_not(tmp_path: Path) -> None:
    blocked = block(tmp_path / "blocked")
    async with running(config(blocked / "b"), tmp_path) as engine:
        await fill(engine, 0)
    files = segments(tmp_path)
    assert len(files) > 2
    gone = int(files[1].stem)
    files[0].unlink()
    blocked.unlink()
    async with running(config(blocked / "b"), tmp_path) as engine:
        assert lost(engine, "journal") == gone
        await fill(engine, 3)
        await until(lambda: len(events_in(blocked / "b")) >= 5)
        await until(lambda: engine.runners[0].saved.cursor >= engine.journal.next)
        await engine.janitor.free()
        assert engine.journal.storage.begin() > gone
    async with running(config(blocked / "b"), tmp_path) as engine:
        assert lost(engine, "journal") == 0


async def test_what_a_command_drops_is_lost_to_who_wanted_it_not_to_the_journal(tmp_path: Path) -> None:
    blocked = block(tmp_path / "blocked")
    async with running(config(blocked / "b"), tmp_path) as engine:
        await fill(engine, 0)
    data_dir = tmp_path / "dpiped"
    with owned(data_dir):
        planned = plan_cut(data_dir, Bound(offset=int(segments(tmp_path)[2].stem)), None)
        cut(data_dir, planned)
    blocked.unlink()
    async with running(config(blocked / "b"), tmp_path) as engine:
        assert lost(engine, "journal") == 0
        assert lost(engine, "late") == 2


async def test_an_end_that_is_missing_is_counted_at_once(tmp_path: Path) -> None:
    """The cursors tell that it was there: what they say is what the next offset begins above."""
    async with running(config(tmp_path / "b"), tmp_path) as engine:
        await fill(engine, 0)
        await until(lambda: engine.runners[0].saved.cursor >= engine.journal.next)
        end = engine.runners[0].saved.cursor
    last = segments(tmp_path)[-1]
    last.unlink()
    async with running(config(tmp_path / "b"), tmp_path) as engine:
        assert lost(engine, "journal") == end - int(last.stem) > 0
        assert engine.journal.next >= end


async def test_a_journal_that_is_gone_as_a_whole_is_counted_once(tmp_path: Path) -> None:
    async with running(config(tmp_path / "b"), tmp_path) as engine:
        await fill(engine, 0)
        await until(lambda: engine.runners[0].saved.cursor >= engine.journal.next)
        begin, end = engine.journal.storage.begin(), engine.runners[0].saved.cursor
    for path in segments(tmp_path):
        path.unlink()
    async with running(config(tmp_path / "b"), tmp_path) as engine:
        assert lost(engine, "journal") == end - begin


async def test_a_foreign_file_is_moved_aside_and_no_loss(tmp_path: Path) -> None:
    async with running(config(tmp_path / "b"), tmp_path) as engine:
        await fill(engine, 0)
    (tmp_path / "dpiped" / "journal" / "notes.txt").write_text("what an operator noted")
    async with running(config(tmp_path / "b"), tmp_path) as engine:
        assert lost(engine, "journal") == 0
        (told,) = engine.telemetry.losses
        assert "notes.txt" in told


def offsets(engine: Engine) -> set[str]:
    """Of packs of inputs; an offset that nobody has seen may come again, with another epoch."""
    frames, _ = engine.journal.storage.read(0, lambda route: route.ident == "app", 1 << 20)
    return {f"{frame.head.epoch} {frame.head.offset}" for frame in frames}


def flip_a_prefix(path: Path) -> None:
    """Of the pack in it."""
    data = bytearray(path.read_bytes())
    data[data.index(b"dP\x01P") + 5] ^= 1
    path.write_bytes(data)


def flip_a_body(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"dP\x01P") + 100] ^= 1
    path.write_bytes(data)


def flip_a_commit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("read", [True, False])
@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("damage", [flip_a_prefix, flip_a_body, flip_a_commit, fill_with_zeros])
async def test_a_pack_that_is_lost_is_counted_once(
    tmp_path: Path, damage: Callable[[Path], None], place: int, read: bool
) -> None:
    toml = config(tmp_path / "b") + ("" if read else "disabled = true\n")
    async with running(toml, tmp_path) as engine:
        await fill(engine, 0)
        await fill(engine, 3)
        if read:
            await until(lambda: engine.runners[0].saved.cursor >= engine.journal.next)
        before = offsets(engine)
    damage(segments(tmp_path)[place])
    async with running(toml, tmp_path) as engine:
        found = offsets(engine)
        assert lost(engine, "journal") == len(before - found)

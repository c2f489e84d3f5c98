"""The runners of filters: emissions once and in order, whatever is killed, raised or stopped in between."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dpiped.deadletter import Letter
from dpiped.errors import UnavailableError
from dpiped.journal.append import Lot
from dpiped.journal.record import Frame
from dpiped.leveldb import LevelDbError
from dpiped.pack import CONTROL_IDENT
from dpiped.plugin import PAUSE, Filter, PackDraft, StatefulFilter
from dpiped.runner import Runner
from dpiped.testing import until
from dpiped.testing.parts import NoConfig, Parts, parts
from dpiped.view import PackView

pytestmark = pytest.mark.usefixtures("no_long_pauses")


def event(number: int, text: str = "") -> bytes:
    return b'{"@timestamp":%d,"t":"%s"}\n' % (number, text.encode())


def draft(number: int, text: str) -> PackDraft:
    return PackDraft(event(number, text), 1, number, number)


class Upper(Filter[NoConfig]):
    """Two packs out for each pack in; raises over what contains `bad` while `broken`."""

    broken = True

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        yield draft(pack.head.offset, "first")
        if b"bad" in pack.body and self.broken:
            raise ValueError("cannot read this")
        yield draft(pack.head.offset, "second")


class Sum(StatefulFilter[NoConfig]):
    """Counts events, and emits the count at every third pack. `seen` is what it did in this process."""

    broken = False
    print_ = "1"
    ticks: list[int]

    def __init__(self, config: NoConfig, context: Any) -> None:
        super().__init__(config, context)
        self.total = self.packs = 0
        self._changed: set[bytes] = set()

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        self.total += pack.count
        if b"bad" in pack.body and self.broken:
            raise ValueError("half done")
        self.packs += 1
        self._changed |= {b"total", b"packs"}
        return [draft(self.packs, f"sum {self.total}")] if self.packs % 3 == 0 else []

    def tick(self, now_ms: int) -> Iterable[PackDraft]:
        return [draft(now_ms, f"tick {self.total}")]

    def finish(self) -> Iterable[PackDraft]:
        return [draft(self.packs, f"end {self.total}")]

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        items = [(key, str(getattr(self, key.decode())).encode()) for key in sorted(self._changed)]
        self._changed.clear()
        return items

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            setattr(self, key.decode(), int(value))

    def fingerprint(self) -> str:
        return self.print_


def kind(base: type[Any], **more: Any) -> type[Any]:
    return type("Test_", (base,), more)


def made(world: Parts) -> list[tuple[int, str]]:
    """(offset that caused it, text) of all emissions in the journal, in order."""
    frames: list[Frame] = world.journal.storage.read(0, lambda route: route.ident == "made", 1 << 30)[0]
    return [
        (frame.head.cause[1], frame.body.split(b'"t":"')[1].split(b'"')[0].decode())
        for frame in frames
        if frame.head.cause is not None
    ]


async def test_emissions_of_an_offset_are_one_write_in_order(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Upper)
        await world.append(event(0), event(1), host="web-7", source="/x.log", accepted_ms=777)
        await world.start(runner)
        await until(lambda: runner.packs == 2)
        assert made(world) == [(0, "first"), (0, "second"), (1, "first"), (1, "second")]
        heads = [frame.head for frame in world.journal.storage.read(0, lambda r: r.ident == "made", 1 << 20)[0]]
        assert {(head.accepted_ms, head.host, head.source, head.project, head.hops) for head in heads} == {
            (777, "web-7", "/x.log", "rs", 1)
        }


async def test_others_run_while_it_emits_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed on demand does not keep the event loop until its end, and is still one write."""
    monkeypatch.setattr("dpiped.filter_runner.PAUSE_SECS", 0.0)
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    class Slow(Filter[NoConfig]):
        def process(self, pack: PackView) -> Iterable[PackDraft]:
            for number in range(20):
                yield draft(pack.head.offset, f"{number} after {len(turns)}")

    async with parts(tmp_path) as world:
        task = asyncio.create_task(other())
        await world.append(event(0))
        await world.start(world.filter(Slow))
        await until(lambda: len(made(world)) == 20)
        task.cancel()
        seen = [int(text.rpartition(" ")[2]) for _, text in made(world)]
        assert len(set(seen)) == 20, "nobody else had a turn between two parts"
        assert len({head.offset - n for n, head in enumerate(heads_of(world))}) == 1, "something came in between"


def heads_of(world: Any) -> list[Any]:
    return [frame.head for frame in world.journal.storage.read(0, lambda r: r.ident == "made", 1 << 20)[0]]


async def test_a_replay_emits_nothing_twice(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Upper)
        await world.start(runner)
        await world.append(event(0), event(1))
        await until(lambda: runner.saved.cursor >= 2)
        await world.stop(runner)
    shutil.rmtree(tmp_path / "state")
    async with parts(tmp_path) as world:
        runner = world.filter(Upper)
        await world.start(runner)
        await until(lambda: runner.packs == 2)
        assert len(made(world)) == 4


async def test_a_pack_it_cannot_read_is_skipped_as_a_control_pack_says(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Upper, error_tries=2)
        await world.append(event(0), event(1, "bad"), event(2))
        await world.start(runner)
        await until(lambda: made(world)[-1:] == [(2, "second")])
        assert {offset for offset, _ in made(world)} == {0, 2}, "half an emission is none"
        letters: list[Letter] = list(world.around.deadletters.scan())
        assert [(letter.raw + b"\n", letter.reason) for letter in letters] == [
            (event(1, "bad"), "ValueError: cannot read this")
        ]
    shutil.rmtree(tmp_path / "state")
    async with parts(tmp_path) as world:  # mended meanwhile: a replay skips it all the same
        runner = world.filter(kind(Upper, broken=False))
        await world.start(runner)
        await until(lambda: runner.reader.cursor == world.journal.next)
        assert {offset for offset, _ in made(world)} == {0, 2}


async def test_skips_are_known_before_the_skipped_pack_is_read(tmp_path: Path) -> None:
    """A replay by a plugin that was mended meanwhile gives the answers of the first run."""
    async with parts(tmp_path) as world:
        runner = world.filter(kind(Sum, broken=True), error_tries=1)
        await world.append(event(0), event(1, "bad"), event(2), event(3))
        await world.start(runner)
        await until(lambda: [text for _, text in made(world)] == ["sum 3"])
    shutil.rmtree(tmp_path / "state")
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(event(4), event(5), event(6))
        await until(lambda: len(made(world)) == 2)
        assert [text for _, text in made(world)] == ["sum 3", "sum 6"]
        assert made(world)[1][0] == max(
            frame.head.offset for frame in world.journal.storage.read(0, lambda r: r.ident == "app", 1 << 20)[0]
        )


async def test_what_has_emitted_is_tried_again_and_never_skipped(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(kind(Upper, broken=False))
        await world.start(runner)
        await world.append(event(0, "bad"))
        await until(lambda: len(made(world)) == 2)
        await world.stop(runner)
    shutil.rmtree(tmp_path / "state")
    plugin = kind(Upper)
    async with parts(tmp_path) as world:
        runner = world.filter(plugin, error_tries=1)
        await world.start(runner)
        failures = world.telemetry.metrics.failures.labels("flt")
        await until(lambda: failures._value.get() >= 4)
        assert world.around.deadletters.count == 0
        plugin.broken = False
        await until(lambda: runner.packs == 1)
        assert len(made(world)) == 2


async def test_on_error_stop_stands(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Upper, error_tries=1, on_error="stop")
        await world.start(runner)
        await world.append(event(0, "bad"))
        await until(lambda: runner.status == "failed")
        assert runner.reader.cursor == 0


async def test_after_an_exception_it_is_restored_from_its_snapshot(tmp_path: Path) -> None:
    plugin = kind(Sum, broken=True)
    async with parts(tmp_path) as world:
        runner = world.filter(plugin, error_tries=100)
        await world.start(runner)
        await world.append(event(0), event(1), event(2, "bad"))
        failures = world.telemetry.metrics.failures.labels("flt")
        await until(lambda: failures._value.get() >= 3)
        plugin.broken = False
        await until(lambda: runner.saved.cursor >= 3)
        assert made(world) == [(2, "sum 3")]


async def test_too_many_hops_go_to_the_dead_letter(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Upper)
        await world.start(runner)
        await world.append(event(0), hops=8)
        await until(lambda: runner.packs == 1)
        assert made(world) == []
        assert world.around.deadletters.count == 1
        assert world.telemetry.metrics.rejected.labels("flt")._value.get() == 1


async def test_where_and_match_hold_for_filters(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Sum, where="t == 'yes'", match=["web.**"])
        await world.start(runner)
        for text in ("yes", "no", "yes", "yes"):
            await world.append(event(1, text), ident="web.x")
            await world.append(event(1, "yes"), ident="other")
        await until(lambda: made(world) == [(6, "sum 3")])


# ---- two marks -----------------------------------------------------------------------------------------------------
async def test_a_stop_in_the_middle_of_an_emission_saves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin has counted the pack, its emission is not in the journal, and the daemon stops."""
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(event(0), event(1))
        await until(lambda: runner.saved.cursor == 2)
        append = world.journal.append

        async def never(owner: str, what: Any, lots: list[Lot]) -> bool:
            if what == "filter":
                raise UnavailableError("disk full", 100)
            return await append(owner, what, lots)

        monkeypatch.setattr(world.journal, "append", never)
        await world.append(event(2))
        await until(lambda: runner._in_hand)
        await world.stop(runner)
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await until(lambda: made(world) == [(2, "sum 3")])


async def test_a_stop_saves_a_snapshot(tmp_path: Path) -> None:
    async with parts(tmp_path, snapshot_interval_secs=100) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(event(0), event(1))
        await until(lambda: runner.packs == 2)
        await world.stop(runner)
        assert world.state.synced[runner.key].cursor == 2
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(event(2))
        await until(lambda: made(world) == [(2, "sum 3")])
        assert runner.packs == 1


async def test_another_fingerprint_starts_empty_at_its_cursor(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(*(event(n) for n in range(4)))
        await until(lambda: runner.saved.cursor >= 4)
        await world.stop(runner)
    async with parts(tmp_path) as world:
        runner = world.filter(kind(Sum, print_="2"))
        await world.start(runner)
        await world.append(*(event(n) for n in range(3)))
        await until(lambda: [text for _, text in made(world)] == ["sum 3", "sum 3"])
        await until(lambda: world.state.synced[runner.key].fingerprint == "2")
        (aside,) = (tmp_path / "quarantine").iterdir()
        _, snapshot = msgspec.msgpack.decode(aside.read_bytes())
        assert len(snapshot) > 0


async def test_ticks_and_the_end_reach_it(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(event(0))
        await world.append(b"", ident="_dpipe.tick", kind="control", accepted_ms=5)
        await world.append(b'{"control":"finish"}\n', ident="_dpipe.control", kind="control", only="flt")
        await until(lambda: [text for _, text in made(world)] == ["tick 1", "end 1"])


async def test_what_changes_gave_is_kept_until_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await until(lambda: runner.status == "running")
        save, failures = world.state._write, [3]

        async def fails(items: Any) -> None:
            if failures[0]:
                failures[0] -= 1
                raise LevelDbError("disk full")
            await save(items)

        monkeypatch.setattr(world.state, "_write", fails)
        await world.append(event(0), event(1))
        await until(lambda: runner.saved.cursor == 2)
        assert failures == [0]
        assert dict(world.state.snapshot(runner.key)) == {b"total": b"2", b"packs": b"2"}


async def test_killed_at_any_moment_emissions_equal_an_undisturbed_run(tmp_path: Path) -> None:
    """The folder is copied while everything runs, as a kill would leave it, and the next daemon starts on the copy."""
    chance = random.Random(7)
    sent, folder = 0, tmp_path / "run0"
    for turn in range(12):
        copy = tmp_path / f"run{turn + 1}"
        async with parts(folder, segment_bytes=2_000, snapshot_interval_secs=0.001) as world:
            runners: list[Runner[Any]] = [world.filter(Sum), world.filter(Upper, name="up", ident="up")]
            await world.start(*runners)
            pause = chance.randrange(30)
            for _ in range(chance.randrange(1, 6)):
                await world.append(event(sent))
                sent += 1
                for _ in range(chance.randrange(pause + 1)):
                    await asyncio.sleep(0)
            await asyncio.to_thread(_copy_as_killed, folder, copy)
        folder = copy
    async with parts(folder) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await until(lambda: runner.status == "running" and not runner.reader.behind)
        frames = world.journal.storage.read(0, lambda route: route.ident == "app", 1 << 30)[0]
        inputs = [frame.head.offset for frame in frames]
        assert len(inputs) == sent
        assert made(world) == [(offset, f"sum {n}") for n, offset in enumerate(inputs, 1) if n % 3 == 0]
        ups = world.journal.storage.read(0, lambda route: route.ident == "up", 1 << 30)[0]
        causes = [frame.head.cause[1] for frame in ups if frame.head.cause is not None]
        assert causes == sorted(causes)
        assert all(causes.count(offset) <= 2 for offset in inputs)


def _copy_as_killed(folder: Path, copy: Path) -> None:
    """State first, then the journal: a synced cursor is never ahead of what is in the journal."""
    shutil.copytree(folder / "state", copy / "state", ignore=shutil.ignore_patterns("LOCK"))
    shutil.copytree(folder / "deadletter", copy / "deadletter", ignore=shutil.ignore_patterns("LOCK"))
    shutil.copytree(folder / "journal", copy / "journal")


async def test_what_operators_say_reaches_the_filter_and_pauses_are_not_emitted(tmp_path: Path) -> None:
    """Of control packs the filter gets those that are its own, in the order of the journal."""

    class Told(Sum):
        def process(self, pack: PackView) -> Iterable[PackDraft]:
            yield PAUSE
            yield draft(self.total, "pack")
            yield PAUSE

        def command(self, said: dict[str, Any]) -> Iterable[PackDraft]:
            return [PAUSE, draft(0, f"told {said['control']}")]

    async with parts(tmp_path) as world:
        runner = world.filter(Told)
        await world.append(event(0))
        for control in ("ack", "reset", "skip", "finish"):
            said = b'{"control":"%b","offset":99}\n' % control.encode()
            await world.append(said, ident=CONTROL_IDENT, kind="control", only="flt", count=0, project="")
        await world.append(b'{"control":"ack"}\n', ident=CONTROL_IDENT, kind="control", only="other", count=0)
        await world.append(event(1))
        await world.start(runner)
        await until(lambda: runner.packs == 6)
        assert made(world) == [(0, "pack"), (1, "told ack"), (4, "end 0"), (6, "pack")]

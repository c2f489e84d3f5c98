"""The runner of an output: order, batches, retry, dead letters, restart, stable batches, and stops at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpiped.backoff import Backoff
from dpiped.batch import Batch
from dpiped.errors import FatalPluginError, LostTrackError, RejectedError, TemporaryError
from dpiped.journal.state import Saved
from dpiped.plugin import Output
from dpiped.testing import until
from dpiped.testing.parts import NoConfig, parts

Offsets = list[int]


pytestmark = pytest.mark.usefixtures("no_long_pauses")


class Store(Output[NoConfig]):
    """Remembers what it got. `script` holds what the next calls of `write` raise; None: nothing."""

    script: Iterator[Exception | None]
    taken: list[Offsets]
    names: list[str]
    opens: list[bytes | None]
    closes: int
    poison = b"poison"
    gate: asyncio.Event

    async def open(self, saved: bytes | None) -> None:
        self.opens.append(saved)

    async def write(self, batch: Batch) -> None:
        await self.gate.wait()
        if error := next(self.script, None):
            raise error
        if self.poison in batch.body:
            raise ValueError("cannot take this")
        self.taken.append([view.head.offset for view in batch.views])
        self.names.append(batch.name)

    def saved(self) -> bytes | None:
        return str(sum(map(len, self.taken))).encode()

    async def close(self) -> None:
        type(self).closes += 1


def store(*script: Exception | None, **more: Any) -> type[Store]:
    """A class of its own, so that what it remembers outlives restarts of the plugin."""
    gate = asyncio.Event()
    gate.set()
    return type(
        "Store_",
        (Store,),
        {"script": iter(script), "taken": [], "names": [], "opens": [], "closes": 0, "gate": gate, **more},
    )


def event(number: int, text: str = "") -> bytes:
    return b'{"@timestamp":%d,"n":%d,"t":"%s"}\n' % (number, number, text.encode())


def flat(taken: list[Offsets]) -> Offsets:
    return [offset for batch in taken for offset in batch]


async def test_packs_come_in_order_and_the_cursor_follows(tmp_path: Path) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        runner = world.output(plugin)
        await world.start(runner)
        await world.append(*(event(n) for n in range(20)))
        await until(lambda: runner.saved.cursor == 20)
        assert flat(plugin.taken) == list(range(20))
        assert (runner.events, runner.packs, runner.status) == (20, 20, "running")
        assert world.state.synced[runner.key].plugin == b"20"
    assert plugin.closes == 1


@pytest.mark.parametrize("batch", [{"max_events": 3}, {"max_bytes": 80}])
async def test_a_batch_ends_with_the_pack_that_reaches_a_limit(tmp_path: Path, batch: dict[str, int]) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        await world.append(*(event(n) for n in range(8)))
        runner = world.output(plugin, batch=batch)
        await world.start(runner)
        await until(lambda: len(flat(plugin.taken)) == 8)
    if "max_bytes" in batch:
        assert plugin.taken == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_it_waits_for_a_full_batch_when_told_to(tmp_path: Path) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        runner = world.output(plugin, batch={"max_secs": 20, "max_bytes": 80})
        await world.start(runner)
        await world.append(event(0))
        await world.append(event(1))
        await world.append(event(2))
        await until(lambda: bool(plugin.taken))
    assert plugin.taken == [[0, 1, 2]]


async def test_a_batch_that_waits_for_more_goes_at_once_when_the_daemon_drains(tmp_path: Path) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        runner = world.output(plugin, batch={"max_secs": 1_000})
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner._waiting is not None)
        runner.hurry()
        await until(lambda: plugin.taken == [[0]])
        await world.append(event(1))
        await until(lambda: plugin.taken == [[0], [1]])


def test_an_error_may_ask_for_a_longer_wait() -> None:
    backoff = Backoff(0.01, 0.02)
    assert backoff.secs_after(TemporaryError("wrong password", 30.0)) == 30.0
    assert backoff.secs_after(TemporaryError("gone")) <= 0.02
    assert backoff.secs_after(ValueError()) <= 0.02


async def test_the_same_batch_again_until_the_store_takes_it(tmp_path: Path) -> None:
    plugin = store(*[TemporaryError("busy")] * 4)
    async with parts(tmp_path) as world:
        runner = world.output(plugin, retry={"initial_secs": 0.001, "max_secs": 0.002})
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.events == 1)
        assert plugin.taken == [[0]]
        assert len(plugin.opens) == 1
        assert world.telemetry.metrics.retries.labels("out")._value.get() == 4
        assert (runner.status, runner.last_error) == ("running", "")


async def test_after_so_many_attempts_on_error_decides(tmp_path: Path) -> None:
    plugin = store(*[TemporaryError("busy")] * 3)
    async with parts(tmp_path) as world:
        runner = world.output(plugin, retry={"initial_secs": 0.001, "max_secs": 0.002, "attempts": 3})
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.packs == 1)
        await world.append(event(1))
        await until(lambda: plugin.taken == [[1]])
        assert [letter.reason for letter in world.around.deadletters.scan()] == ["busy"]


async def test_refused_events_go_to_the_dead_letter_and_the_rest_is_delivered(tmp_path: Path) -> None:
    plugin = store(RejectedError({1: "mapping conflict", 2: "too long"}))
    async with parts(tmp_path) as world:
        await world.append(event(0) + event(1), event(2), source="/x.log", host="web-7")
        runner = world.output(plugin)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 2)
        letters = sorted(world.around.deadletters.scan(), key=lambda letter: letter.raw)
        assert [(letter.raw + b"\n", letter.reason) for letter in letters] == [
            (event(1), "mapping conflict"),
            (event(2), "too long"),
        ]
        epoch = world.journal.epoch
        assert [letter.cause for letter in letters] == [f"out/{epoch}-{0:012x}/1", f"out/{epoch}-{1:012x}/0"]
        assert all(
            (letter.by_runner, letter.source, letter.host, letter.project) == (True, "/x.log", "web-7", "rs")
            for letter in letters
        )


async def test_lines_of_dead_letters_count_in_the_stored_body(tmp_path: Path) -> None:
    plugin = store(RejectedError({0: "no"}))
    async with parts(tmp_path) as world:
        await world.append(event(0) + event(1) + event(2))
        runner = world.output(plugin, where="n == 2")
        await world.start(runner)
        await until(lambda: runner.packs == 1)
        letter = next(world.around.deadletters.scan())
        assert (letter.raw + b"\n", letter.cause.rpartition("/")[2]) == (event(2), "2")


@pytest.mark.parametrize("cache_bytes", [1, 1 << 20])
async def test_one_poisoned_pack_of_a_batch_is_found_and_buried(tmp_path: Path, cache_bytes: int) -> None:
    plugin = store()
    async with parts(tmp_path, cache_bytes=cache_bytes) as world:
        await world.append(*(event(n, "poison" if n == 7 else "") for n in range(12)))
        runner = world.output(plugin, error_tries=2)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 12)
        assert sorted(set(flat(plugin.taken))) == [n for n in range(12) if n != 7]
        assert [letter.raw + b"\n" for letter in world.around.deadletters.scan()] == [event(7, "poison")]
        assert plugin.closes == len(plugin.opens) - 1
        assert len(plugin.opens) < 6, "it does not restart once for each pack of the batch"


async def test_on_error_stop_stands_and_holds_its_place(tmp_path: Path) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        await world.append(event(0, "poison"), event(1))
        runner = world.output(plugin, error_tries=1, on_error="stop", batch={"max_events": 1})
        await world.start(runner)
        await until(lambda: runner.status == "failed")
        assert runner.reader.cursor == 0
        assert "cannot take this" in runner.last_error
        assert world.around.deadletters.count == 0


async def test_on_error_retry_never_gives_up(tmp_path: Path) -> None:
    plugin = store(*[ValueError("defect")] * 9)
    async with parts(tmp_path) as world:
        runner = world.output(plugin, error_tries=2, on_error="retry")
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: plugin.taken == [[0]])
        assert world.around.deadletters.count == 0


async def test_a_fatal_error_stands(tmp_path: Path) -> None:
    plugin = store(FatalPluginError("no such table"))
    async with parts(tmp_path) as world:
        runner = world.output(plugin)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.status == "failed")
        assert runner.last_error == "no such table"


async def test_after_an_error_it_goes_on_from_the_saved_cursor(tmp_path: Path) -> None:
    plugin = store(None, LostTrackError("disk was away"))
    async with parts(tmp_path) as world:
        runner = world.output(plugin)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
        await world.append(event(1), event(2))
        await until(lambda: runner.saved.cursor == 3)
        assert flat(plugin.taken) == [0, 1, 2]
        assert plugin.opens == [None, b"1"]


async def test_a_restarted_daemon_goes_on_where_it_was(tmp_path: Path) -> None:
    plugin = store()
    for turn in range(3):
        async with parts(tmp_path) as world:
            runner = world.output(plugin)
            await world.start(runner)
            await world.append(event(turn))
            await until(lambda: len(flat(plugin.taken)) == turn + 1)  # noqa: B023
    assert flat(plugin.taken) == [0, 1, 2]


async def test_latest_starts_behind_what_is_there(tmp_path: Path) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        await world.start()
        await world.append(event(0))
    async with parts(tmp_path) as world:
        runner = world.output(plugin, start="latest")
        await world.start(runner)
        assert world.state.synced[runner.key].cursor == 1
        await world.append(event(1))
        await until(lambda: flat(plugin.taken) == [1])


async def test_after_a_lost_state_every_runner_starts_at_the_oldest_pack(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        await world.append(*(event(n) for n in range(4)))
    (tmp_path / "state").rename(tmp_path / "gone")
    plugins = [store() for _ in range(3)]
    async with parts(tmp_path) as world:
        runners = [world.output(plugin, name=f"o{n}", start="latest") for n, plugin in enumerate(plugins)]
        await world.start(*runners)
        await until(lambda: all(runner.packs == 4 for runner in runners))


async def test_a_stop_while_it_writes_does_not_move_the_cursor(tmp_path: Path) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        runner = world.output(plugin)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
        plugin.gate.clear()
        await world.append(event(1))
        await until(lambda: bool(runner.reader._pulled))
        await world.stop(runner)
        assert world.state.synced[runner.key].cursor == 1
        assert runner.status == "stopped"
        runner.reader.rewind(1)
        assert world.journal.pool.in_use <= 1


async def test_a_stop_before_open_has_ended_saves_nothing(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def hang(self: Store, saved: bytes | None) -> None:
        await never.wait()

    plugin = store()
    async with parts(tmp_path) as world:
        runner = world.output(plugin)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
    hanging = store(open=hang, taken=[])
    async with parts(tmp_path) as world:
        runner = world.output(hanging)
        await world.start(runner)
        await world.append(event(1))
        await until(lambda: runner.status == "starting" and runner.reader.behind)
        await world.stop(runner)
        assert world.state.synced[runner.key].plugin == b"1"


async def test_a_plugin_that_does_not_close_does_not_hold_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpiped.runner.CLOSE_SECS", 0.05)

    async def hang(self: Store) -> None:
        await asyncio.Event().wait()

    async with parts(tmp_path) as world:
        runner = world.output(store(close=hang))
        await world.start(runner)
        await until(lambda: runner.status == "running")
        await asyncio.wait_for(world.stop(runner), 5)
        assert runner.status == "stopped"


async def test_control_packs_and_packs_of_others_are_passed_over(tmp_path: Path) -> None:
    plugin = store()
    async with parts(tmp_path) as world:
        await world.append(b'{"control":"reset"}\n', ident="_dpipe.control", kind="control", only="out")
        await world.append(b'{"control":"reset"}\n', ident="_dpipe.control", kind="control", only="someone")
        await world.append(event(2), cause=("f", 0))
        await world.append(event(3))
        runner = world.output(plugin)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 4)
        assert plugin.taken == [[3]]


# ---- stable batches ------------------------------------------------------------------------------------------------
async def begin_batch(folder: Path, plugin: type[Store], amount: int) -> None:
    """Packs in the journal, and a first batch of all of them whose boundaries are saved; then a kill."""
    async with parts(folder) as world:
        await world.append(*(event(n) for n in range(amount)))
        runner = world.output(plugin)
        await runner.attach()
        task = asyncio.create_task(runner.run())
        await until(lambda: runner.saved.batch is not None)
        assert world.state.synced[runner.key].batch == (0, amount)
        runner.save = _dead  # type: ignore[method-assign]
        task.cancel()
        await asyncio.wait((task,))


async def _dead(saved: Saved, changes: Any = ()) -> None:
    raise ValueError("the daemon was killed")


async def test_the_same_batch_comes_again_under_its_name(tmp_path: Path) -> None:
    held = store(stable_batches=True, gate=asyncio.Event())
    await begin_batch(tmp_path, held, 3)
    plugin = store(stable_batches=True)
    async with parts(tmp_path) as world:
        await world.append(*(event(n) for n in range(3, 6)))
        runner = world.output(plugin)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 6)
    assert plugin.taken == [[0, 1, 2], [3, 4, 5]]
    epoch, first, last = plugin.names[0].split("-")
    assert (int(first, 16), int(last, 16)) == (0, 2)
    assert epoch != world.journal.epoch


async def test_what_is_left_of_a_stable_batch_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = store(stable_batches=True, gate=asyncio.Event())
    await begin_batch(tmp_path, held, 4)
    plugin = store(stable_batches=True)
    async with parts(tmp_path) as world:
        await world.append(event(4), event(5))
        runner = world.output(plugin)
        await runner.attach()
        read = world.journal.storage.read

        def lossy(offset: int, wanted: Any, most: int) -> Any:
            frames, end = read(offset, wanted, most)
            return [frame for frame in frames if frame.head.offset not in (0, 3)], end

        monkeypatch.setattr(world.journal.storage, "read", lossy)
        world.runners[runner] = asyncio.create_task(runner.run())
        await until(lambda: runner.saved.cursor == 6)
    assert plugin.taken == [[1, 2], [4, 5]]
    assert plugin.names[0].split("-")[1:] == [f"{0:012x}", f"{3:012x}"]


async def test_a_stable_batch_that_is_gone_is_given_up_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = store(stable_batches=True, gate=asyncio.Event())
    await begin_batch(tmp_path, held, 2)
    plugin = store(stable_batches=True)
    async with parts(tmp_path) as world:
        await world.append(event(2))
        runner = world.output(plugin)
        await runner.attach()
        read = world.journal.storage.read
        monkeypatch.setattr(
            world.journal.storage,
            "read",
            lambda *a: ([frame for frame in read(*a)[0] if frame.head.offset >= 2], read(*a)[1]),
        )
        world.runners[runner] = asyncio.create_task(runner.run())
        await until(lambda: runner.saved.cursor == 3)
        assert world.telemetry.metrics.lost.labels("out")._value.get() == 2
    assert plugin.taken == [[2]]


async def test_a_second_stable_batch_saves_the_end_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second batch, the first must not come again in other company."""
    monkeypatch.setattr("dpiped.runner.SAVE_SECS", 100.0)
    plugin = store(stable_batches=True)
    async with parts(tmp_path) as world:
        await world.append(*(event(n) for n in range(4)))
        runner = world.output(plugin, batch={"max_bytes": 40})
        await world.start(runner)
        await until(lambda: len(plugin.taken) == 2)
        saved = world.state.synced[runner.key]
        assert saved.batch is not None
        assert saved.cursor == saved.batch[0] == plugin.taken[1][0]


async def test_a_stable_batch_that_always_fails_is_given_up_whole(tmp_path: Path) -> None:
    plugin = store(stable_batches=True)
    async with parts(tmp_path) as world:
        await world.append(event(0), event(1, "poison"), event(2))
        runner = world.output(plugin, error_tries=2)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 3)
        assert world.around.deadletters.count == 3
        await world.append(event(3))
        await until(lambda: plugin.taken == [[3]])


async def test_a_store_that_does_not_answer_is_shown_as_hanging(tmp_path: Path) -> None:
    plugin = store()
    plugin.gate.clear()
    async with parts(tmp_path) as world:
        runner, other = world.output(plugin), world.output(store(), name="other")
        world.around.watch.hang_secs = 0.05
        await world.append(b'{"@timestamp":1}\n')
        await world.start(runner, other)
        await until(lambda: runner.report()["status"] == "hanging")
        assert other.reader.cursor == 1
        plugin.gate.set()
        await until(lambda: runner.reader.cursor == 1)
        assert (runner.report()["status"], runner.report()["calling_secs"]) == ("running", 0.0)

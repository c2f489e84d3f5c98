"""State, dead letters and disks that are damaged or fail under a running engine: it goes on, and says what it lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import plyvel
import pytest

from dpiped.config.load import load_daemon_config
from dpiped.engine import Engine
from dpiped.errors import DpipeError
from dpiped.journal.state import RunnerKey, Saved, State
from dpiped.leveldb import LevelDb, LevelDbDamagedError, LevelDbError
from dpiped.plugin import PackDraft, StatefulFilter
from dpiped.testing import ask, events_in, post, running, until
from dpiped.testing.parts import NoConfig, Parts, parts
from dpiped.view import PackView

HTTP = '[[project]]\nname = "rs"\n[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'
DAY_MS = 24 * 3600 * 1000


pytestmark = pytest.mark.usefixtures("no_long_pauses")


def file_output(path: Path, name: str = "file", more: str = "") -> str:
    return f'[[output]]\ntype = "file"\nname = "{name}"\npath = "{path}"\n{more}'


def lines(first: int, last: int) -> bytes:
    return b"".join(b'{"@timestamp":%d,"n":%d}\n' % (1_700_000_000_000 + n, n) for n in range(first, last))


def numbers(path: Path) -> list[int]:
    return [event["n"] for event in events_in(path)]


def lost(engine: Engine, place: str) -> float:
    return engine.telemetry.metrics.registry.get_sample_value("dpipe_lost_packs_total", {"place": place}) or 0.0


def change_state(folder: Path, key: RunnerKey, value: bytes | None) -> None:
    database = LevelDb(folder / "dpiped" / "state")
    database.write([(key.key(b"c"), value)], sync=True)
    database.close()


# ---- the state -----------------------------------------------------------------------------------------------------
async def test_a_damaged_cursor_costs_its_runner_only_and_steps_back(tmp_path: Path) -> None:
    """`start = "latest"`: as a new runner it would pass over what was never delivered."""
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"")
    config = HTTP + file_output(tmp_path / "a", "good") + file_output(blocked / "b", "late")
    async with running(config, tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 10))
        await until(lambda: numbers(tmp_path / "a") == list(range(10)))
    blocked.unlink()
    change_state(tmp_path, RunnerKey("output", "late", "file"), b"\xc1 no msgpack")
    async with running(config, tmp_path) as engine:
        await until(lambda: numbers(blocked / "b") == list(range(10)))
        assert lost(engine, "state") == 1
        status, answer = await ask(engine, "/readyz")
        assert (status, answer["ready"]) == (200, True)
        assert "cursor" in answer["losses"][0]
    assert numbers(tmp_path / "a") == list(range(10))
    async with running(config, tmp_path) as engine:
        assert not engine.telemetry.losses


async def test_after_a_repair_nobody_starts_behind_what_was_not_delivered(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"")
    config = HTTP + file_output(blocked / "b", "late")
    async with running(config, tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 10))
    blocked.unlink()
    change_state(tmp_path, RunnerKey("output", "late", "file"), None)  # as if the damage had taken just this
    next((tmp_path / "dpiped" / "state").glob("CURRENT")).write_bytes(b"?")
    for turn in range(2):
        file = tmp_path / f"d{turn}.toml"
        file.write_text(f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{tmp_path}/dpiped"\n' + HTTP)
        engine = Engine(load_daemon_config(file))
        with pytest.MonkeyPatch.context() as patch:  # it ends before the runners have cursors: that changes nothing
            patch.setattr(engine, "_build", lambda: _raise(DpipeError("killed")))
            with pytest.raises(DpipeError, match="killed"):
                await engine.run()
    async with running(config, tmp_path):
        await until(lambda: numbers(blocked / "b") == list(range(10)))


SUM = """
[[filter]]
type = "aggregate"
name = "sum"
window_secs = 60
metrics = { hits = { op = "count" } }
"""
AGAIN = "outputs that begin at the oldest pack: a, b; what they had delivered may come again"
EMPTY = "filters that begin at the oldest pack, empty: sum; they know only what is still in the journal"
REPAIRED = "the database was damaged and is repaired; what could be read of it is kept"
ANEW = "the database was damaged beyond repair and is begun anew; nothing of it is kept"


def without_current(state: Path) -> None:
    (state / "CURRENT").unlink()


def rubbish(state: Path) -> None:
    for file in state.iterdir():
        file.write_bytes(b"rubbish " * 100)


def a_file(state: Path) -> None:
    shutil.rmtree(state)
    state.write_bytes(b"x")


def a_cursor(state: Path) -> None:
    change_state(state.parent.parent, RunnerKey("output", "b", "file"), b"\xc1 no msgpack")


@pytest.mark.parametrize(
    ("damage", "told", "amount"),
    [
        (without_current, [REPAIRED, "cursors kept: a, b", EMPTY], 1),
        (rubbish, [ANEW, "cursors kept: none", AGAIN, EMPTY], 3),
        (shutil.rmtree, ["it is gone, and the journal is not", "cursors kept: none", AGAIN, EMPTY], 3),
        (a_file, ["it is gone, and the journal is not", "cursors kept: none", AGAIN, EMPTY], 3),
        (
            a_cursor,
            ["the cursor of output b file is damaged", "cursors kept: a, sum", AGAIN.replace("a, b", "b")],
            1,
        ),
    ],
)
async def test_one_line_tells_what_became_of_a_damaged_state(
    tmp_path: Path, damage: Callable[[Path], None], told: list[str], amount: int
) -> None:
    config = HTTP + SUM + file_output(tmp_path / "a", "a") + file_output(tmp_path / "b", "b")
    async with running(config, tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 10))
        await until(lambda: numbers(tmp_path / "a") == numbers(tmp_path / "b") == list(range(10)))
        await until(lambda: all(runner.saved.cursor > 0 for runner in engine.runners if runner.name != "sum"))
    damage(tmp_path / "dpiped" / "state")
    async with running(config, tmp_path) as engine:
        assert [line for line in engine.telemetry.losses if "quarantine" not in line] == [
            f"stored data lost: place state, amount {amount}, reason {'; '.join(told)}"
        ]
        assert lost(engine, "state") == amount


async def test_a_file_instead_of_the_journal_is_moved_aside(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a")
    journal = tmp_path / "dpiped" / "journal"
    async with running(config, tmp_path):
        pass
    shutil.rmtree(journal)
    journal.write_bytes(b"x")
    async with running(config, tmp_path) as engine:
        assert (await post(engine, "rs/app", lines(0, 1)))[0] == 200
        assert "quarantine" in engine.telemetry.losses[0]


def _raise(exc: Exception) -> None:
    raise exc


def test_a_filter_s_state_that_may_not_be_whole_is_not_taken(tmp_path: Path) -> None:
    state = State(LevelDb(tmp_path / "state"))
    state.open()
    database = state._database
    flt, out = RunnerKey("filter", "f", "sum"), RunnerKey("output", "o", "file")
    database.write(
        [
            (flt.key(b"c"), msgspec.msgpack.encode(Saved(7, fingerprint="print"))),
            (flt.key(b"s") + b"\0k", b"half"),
            (out.key(b"c"), msgspec.msgpack.encode(Saved(9))),
        ],
        sync=True,
    )
    again = State(database)
    again.open()  # the mark `~unsettled` is there, as after a repair
    assert again.synced.keys() == {out}
    assert again.lost == {flt}
    assert again.is_lost(flt)
    assert again.snapshot(flt) == []
    database.close()


class Sum(StatefulFilter[NoConfig]):
    """The number of events so far, emitted at every pack; what changes is one item for each pack."""

    def __init__(self, config: NoConfig, context: Any) -> None:
        super().__init__(config, context)
        self.items: dict[bytes, bytes] = {}
        self.changed: dict[bytes, bytes] = {}

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        self.changed[b"%d" % pack.head.offset] = b"%d" % pack.count
        self.items |= self.changed
        yield PackDraft(b'{"@timestamp":1,"sum":%d}\n' % sum(map(int, self.items.values())), 1, 1, 1)

    def tick(self, now_ms: int) -> Iterable[PackDraft]:
        return ()

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        changed, self.changed = self.changed, {}
        return list(changed.items())

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        self.items = dict(items)


def sums(world: Parts) -> list[int]:
    """All that it has emitted, over all restarts."""
    frames, _ = world.journal.storage.read(0, lambda route: route.emitted, 1 << 20)
    return [json.loads(frame.body)["sum"] for frame in frames]


class Breaking(LevelDb):
    """Says at the next write, or read of a snapshot, that it is damaged."""

    write_breaks = scan_breaks = False

    def write(self, items: Any, *, sync: bool) -> None:
        if self.write_breaks:
            self.write_breaks = False
            raise LevelDbDamagedError("write: block checksum mismatch")
        super().write(items, sync=sync)

    def scan(self, prefix: bytes) -> Any:
        if self.scan_breaks and prefix.startswith(b"s\0"):
            self.scan_breaks = False
            raise LevelDbDamagedError("read: block checksum mismatch")
        return super().scan(prefix)


async def test_state_that_is_damaged_in_use_starts_its_filters_anew(tmp_path: Path) -> None:
    database = Breaking(tmp_path / "state")
    async with parts(tmp_path, state=database) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(*(b'{"@timestamp":%d}\n' % n for n in range(3)))
        await until(lambda: runner.saved.cursor >= 3)
        database.write_breaks = True
        await world.append(b'{"@timestamp":3}\n')
        await until(lambda: world.state.losses == 1)
        await until(lambda: sums(world) == [1, 2, 3, 4])
        await until(lambda: runner.saved.cursor >= 7)
        assert any("at the oldest pack, empty: " in line for line in world.telemetry.losses)
        assert len(world.state.snapshot(runner.key)) == 4  # not only what changed since


async def test_a_snapshot_that_cannot_be_read_starts_its_filter_anew(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(*(b'{"@timestamp":%d}\n' % n for n in range(3)))
        await until(lambda: runner.saved.cursor >= 3)
    database = Breaking(tmp_path / "state")
    database.scan_breaks = True
    async with parts(tmp_path, state=database) as world:
        runner = world.filter(Sum)
        await world.start(runner)
        await world.append(b'{"@timestamp":3}\n')
        await until(lambda: sums(world) == [1, 2, 3, 4])
        assert world.state.losses == 1


# ---- runners that left ---------------------------------------------------------------------------------------------
async def test_a_runner_that_comes_back_goes_on_and_its_gap_is_counted(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a", "stays")
    more = file_output(tmp_path / "b", "leaves")
    async with running(config + more, tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 5))
        await until(lambda: numbers(tmp_path / "a") == numbers(tmp_path / "b") == list(range(5)))
    async with running(config, tmp_path) as engine:
        assert [saved.left >= 0 for key, saved in engine.around.state.synced.items() if key.name == "leaves"] == [True]
        await post(engine, "rs/app", lines(5, 10))
        await until(lambda: numbers(tmp_path / "a") == list(range(10)))
    async with running(config + more, tmp_path) as engine:
        await until(lambda: numbers(tmp_path / "b") == list(range(10)))  # nothing had been given back
        assert lost(engine, "leaves") == 0
    async with running(config, tmp_path) as engine:
        await post(engine, "rs/app", lines(10, 15))
        await until(lambda: numbers(tmp_path / "a") == list(range(15)))
        first = engine.journal.storage
        first._good = 1 << 40  # type: ignore[attr-defined] # the next pack begins a segment
        await post(engine, "rs/app", lines(15, 20))
        await until(lambda: numbers(tmp_path / "a") == list(range(20)))
        await until(lambda: engine.runners[0].saved.cursor >= engine.journal.next)
        await engine.janitor.free()
        assert first.first() > 0
    async with running(config + more, tmp_path) as engine:
        await until(lambda: numbers(tmp_path / "b") == [*range(10), *range(15, 20)])
        assert lost(engine, "leaves") == 1


async def test_a_runner_that_left_seven_days_ago_is_forgotten(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a", "stays")
    more = file_output(tmp_path / "b", "leaves")
    key = RunnerKey("output", "leaves", "file")
    async with running(config + more, tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 5))
        await until(lambda: len(numbers(tmp_path / "b")) == 5)
    async with running(config, tmp_path) as engine:
        saved = engine.around.state.synced[key]
        assert saved.left >= 0
    for days, is_there in ((6.9, True), (7.1, False)):
        old = msgspec.structs.replace(saved, seen_ms=saved.seen_ms - int(days * DAY_MS))
        change_state(tmp_path, key, msgspec.msgpack.encode(old))
        async with running(config, tmp_path) as engine:
            assert (key in engine.around.state.synced) == is_there
            assert RunnerKey("output", "stays", "file") in engine.around.state.synced


async def test_a_reload_notes_who_left(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a", "stays")
    more = file_output(tmp_path / "b", "leaves")
    async with running(config + more, tmp_path) as engine:
        head = (tmp_path / "dpiped.toml").read_text().replace(more, "")
        (tmp_path / "dpiped.toml").write_text(head)
        assert await engine.reload(load_daemon_config(tmp_path / "dpiped.toml")) == ["leaves ended"]
        left = {key.name: saved.left for key, saved in engine.around.state.synced.items()}
        assert left["stays"] < 0 <= left["leaves"]


# ---- dead letters, project logs ------------------------------------------------------------------------------------
async def test_dead_letters_that_cannot_be_written_are_503_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(HTTP + file_output(tmp_path / "a"), tmp_path) as engine:

        def full(*_: object, **__: object) -> None:
            raise LevelDbError("write: No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(engine.around.deadletters._database, "write", full)
            for _ in range(3):
                status, answer = await post(engine, "rs/app", b'{"n":1}\nbad\n')
                assert (status, "dead letter" in answer["error"]) == (503, True)
        status, answer = await post(engine, "rs/app", b'{"n":1}\nbad\n')
        assert (status, answer["rejected"]) == (200, 1)
        await until(lambda: numbers(tmp_path / "a") == [1])
        assert engine.inputs[0].report()["rejected"] == 1
        assert engine.around.deadletters.count == 1


async def test_damaged_dead_letters_are_kept_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a")
    async with running(config, tmp_path) as engine:
        for n in range(5):
            await post(engine, "rs/app", b"bad %d\n" % n)
    log = next((tmp_path / "dpiped" / "deadletter").glob("*.log"))
    data = bytearray(log.read_bytes())
    data[data.index(b"bad 2")] ^= 1
    log.write_bytes(data)
    async with running(config, tmp_path) as engine:
        assert sorted(letter.raw for letter in engine.around.deadletters.scan()) == [
            b"bad %d" % n for n in (0, 1, 3, 4)
        ]
        assert engine.around.deadletters.count == 4
        assert lost(engine, "deadletter") == 1
        assert (await post(engine, "rs/app", b"bad 5\n"))[0] == 422


async def test_dead_letters_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a")
    async with running(config, tmp_path):
        pass
    for name in ("state", "deadletter"):
        copy = tmp_path / name
        shutil.copytree(tmp_path / "dpiped", copy / "dpiped")
        database = LevelDb(copy / "dpiped" / name)
        database.write([(b"v", b"2")], sync=True)
        database.close()
        with pytest.raises(DpipeError, match=rf"{name} has layout.*start the newer one"):
            async with running(config, copy):
                pass


async def test_a_log_file_that_cannot_be_written_holds_up_nothing(tmp_path: Path) -> None:
    logfile = tmp_path / "log" / "rs.log"
    (tmp_path / "log").write_bytes(b"a file where a folder is wanted")
    config = HTTP.replace('name = "rs"\n', f'name = "rs"\nlogfile = "{logfile}"\n') + file_output(tmp_path / "a")
    async with running(config, tmp_path) as engine:
        for _ in range(3):
            assert (await post(engine, "rs/app", b'{"n":1}\nbad\n'))[0] == 200
        (tmp_path / "log").unlink()
        assert (await post(engine, "rs/app", b'{"n":1}\nbad\n'))[0] == 200
        assert logfile.read_text().count("event rejected") == 1
        assert logfile.stat().st_mode & 0o777 == 0o640


# ---- upgrade -------------------------------------------------------------------------------------------------------
async def test_a_data_dir_of_layout_1_is_migrated(tmp_path: Path) -> None:
    config = HTTP + file_output(tmp_path / "a")
    async with running(config, tmp_path) as engine:
        await post(engine, "rs/app", lines(0, 5) + b"bad\n")
        await until(lambda: len(numbers(tmp_path / "a")) == 5)
    (tmp_path / "dpiped" / "VERSION").write_text("1\n")
    for name in ("state", "deadletter"):
        path = tmp_path / "dpiped" / name
        database = LevelDb(path)
        items = [item for prefix in (b"c", b"d", b"s", b"t") for item in database.scan(prefix)]
        database.close()
        shutil.rmtree(path)
        plain = plyvel.DB(str(path), create_if_missing=True)
        for key, value in items + [(b"v", b"1")] * (name == "state"):
            plain.put(key, value)
        plain.close()
    async with running(config, tmp_path) as engine:
        assert not engine.telemetry.losses
        assert engine.around.deadletters.count == 1
        await post(engine, "rs/app", lines(5, 7))
        await until(lambda: numbers(tmp_path / "a") == list(range(7)))


async def test_min_free_bytes_counts_as_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = '[journal]\nmin_free_bytes = "1MiB"\n' + HTTP + file_output(tmp_path / "a")
    async with running(config, tmp_path) as engine:
        assert (await post(engine, "rs/app", lines(0, 1)))[0] == 200
        for free, expected in ((1000, 503), (1 << 30, 200)):
            monkeypatch.setattr(engine.journal.storage, "free_disk_bytes", lambda: free)  # noqa: B023
            engine.journal.room._looked_at = 0.0
            status, answer = await post(engine, "rs/app", lines(1, 2))
            assert status == expected
            assert (await ask(engine, "/readyz"))[0] == expected
        assert "min_free_bytes" not in answer
        await until(lambda: numbers(tmp_path / "a") == [0, 1])


@pytest.mark.parametrize("made_anew", [True, False])
async def test_a_folder_that_was_removed_under_the_daemon_takes_no_more_events(tmp_path: Path, made_anew: bool) -> None:
    """What it would take would be gone with the process."""
    async with running(HTTP + file_output(tmp_path / "a"), tmp_path) as engine:
        assert (await post(engine, "rs/app", lines(0, 1)))[0] == 200
        folder = next(path for path in tmp_path.rglob("journal") if path.is_dir())
        aside = folder.rename(tmp_path / "aside")
        if made_anew:
            shutil.rmtree(aside)
            folder.mkdir()
        engine.journal.room._looked_at = 0.0
        status, answer = await post(engine, "rs/app", lines(1, 2))
        assert status == 503
        assert "was removed or moved" in answer["error"]
        status, answer = await ask(engine, "/readyz")
        assert status == 503
        assert "journal: was removed or moved" in str(answer)
        if not made_anew:
            aside.rename(folder)
            engine.journal.room._looked_at = 0.0
            assert (await post(engine, "rs/app", lines(1, 2)))[0] == 200
            await until(lambda: numbers(tmp_path / "a") == [0, 1])

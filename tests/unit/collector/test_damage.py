"""A damaged data_dir never stops collection, a disk that fails holds it up only, and a newer version is refused."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from collector import checkpoint as checkpoint_module
from collector.checkpoint import Checkpoint
from collector.collector import Collector
from collector.config import CollectorConfig, Config, SyslogInput, TailInput
from collector.sender import Pauses
from dpiped.errors import DpipeError
from dpiped.telemetry import Telemetry
from tests.faults.flips import FLIPS, flip, fresh_copy


def collector_of(folder: Path, data: Path, url: str, read_from: str = "start") -> Collector:
    """It tails `folder/logs` and listens for syslog; its data_dir may be a copy."""
    settings = CollectorConfig(
        endpoints=(url,),
        batch_secs=0.01,
        status="127.0.0.1:0",
        data_dir=str(data),
        drain_timeout_secs=1,
        failover_after_secs=0.01,  # a batch that is in doubt goes from a sink that has gone to the next
    )
    tail = TailInput(type="tail", name="tail", paths=(f"{folder}/logs/*.log",), ident="rs.tail", read_from=read_from)
    net = SyslogInput(type="syslog", name="net", ident="rs.net", listen="127.0.0.1:0")
    return Collector(Config(settings, (tail, net)), Telemetry(), pauses=lambda: Pauses(0.001, 0.005))


def append(file: Path, first: int, last: int) -> list[str]:
    lines = [f"tail {number} of a log" for number in range(first, last)]
    with file.open("a") as handle:
        handle.writelines(f"{line}\n" for line in lines)
    return lines


async def log(collector: Collector, lines: list[str]) -> None:
    port = int(str(collector.feeds[1].status()["address"]).rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("".join(f"{line}\n" for line in lines).encode())
    writer.close()
    await writer.wait_closed()


async def started(kit, collector: Collector) -> asyncio.Task[bool]:
    task = asyncio.create_task(collector.run())
    await kit.eventually(lambda: bool(collector.status_address) or task.done())
    assert not task.done(), task
    return task


async def fill(kit, data: Path) -> tuple[list[str], list[str]]:
    """(lines that were delivered, lines that wait): a batch is under way, and blocks are in the spool."""
    done = append(kit.log, 0, 50)
    async with kit.Sink() as sink:
        collector = collector_of(kit.folder, data, sink.url)
        task = await started(kit, collector)
        await log(collector, [f"<13>net {n}" for n in range(50)])
        done += [f"<13>net {n}" for n in range(50)]
        await sink.until(lambda: len(sink.lines) == 100)
        await kit.eventually(lambda: all(lane.idle for lane in collector.lanes))
        await collector._checkpoint.save()
        sink.actions = [503] * 100_000
        waiting = append(kit.log, 50, 100)
        for n in range(50, 60):
            await log(collector, [f"<13>net {n}"])
            await kit.eventually(lambda: collector.feeds[1].status()["waiting"] > 0)
            waiting.append(f"<13>net {n}")
        await kit.eventually(lambda: any(lane.stream.batch for lane in collector.lanes))
        storage = collector.feeds[1]._storage
        await kit.eventually(lambda: collector.feeds[1]._in_hand == () and storage.next >= 2)
        await collector._checkpoint.save()
        kit.kill(collector, task)
        await asyncio.wait([task])
    return done, waiting


def at_rest(collector: Collector) -> bool:
    net = collector.feeds[1]
    return net._read >= net._storage.next and all(lane.idle for lane in collector.lanes)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_flipped_bit_anywhere(kit, tmp_path: Path) -> None:
    seed = int(os.environ.get("DPIPE_FLIP_SEED", random.randrange(10**6)))
    print("DPIPE_FLIP_SEED =", seed)
    chance = random.Random(seed)
    done, waiting = await fill(kit, tmp_path / "whole")
    said: Counter[str] = Counter()
    for _ in range(FLIPS):
        copy = fresh_copy(tmp_path / "whole", tmp_path / "copy")
        what = flip(copy, chance)
        async with kit.Sink() as sink:
            collector = collector_of(kit.folder, copy, sink.url)
            task = await started(kit, collector)
            tailed = {line for line in waiting if line.startswith("tail")}
            try:
                await kit.eventually(lambda: tailed <= set(sink.lines) and at_rest(collector))  # noqa: B023
            except TimeoutError:
                net = collector.feeds[1]
                raise AssertionError(f"{what}: {len(sink.lines)} lines, {net._read}/{net._storage.next}") from None
            collector.stop()
            assert await task, what
        losses = list(collector.telemetry.losses)
        said[f"{what.split(':')[0]}: {'told' if losses else 'harmless'}"] += 1
        assert set(sink.lines) <= {*done, *waiting}, what
        assert all(frame.head.ident in ("rs.tail", "rs.net") for frame in sink.frames), what
        if not losses:
            assert Counter(sink.lines) == Counter(waiting), what
        missing = set(waiting) - set(sink.lines)
        assert not missing or what.startswith("spool"), f"{what}: {missing}"
    print(*sorted(said.items()), sep="\n")


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: b"\xff\xfe\x00" * 50,
        lambda content: content.replace(b'"seq":1', b'"seq":0'),
        lambda content: b"[]",
        lambda content: content[: content.index(b',"check"')] + b"}",
    ],
    ids=["empty", "cut", "binary", "changed", "other", "without check"],
)
async def test_a_damaged_checkpoint_costs_repeats_and_nothing_else(kit, harm) -> None:
    """`read_from = "end"` is for a first start: this is none."""
    first = append(kit.log, 0, 20)
    data = kit.folder / "data"
    async with kit.Sink() as sink:
        collector = collector_of(kit.folder, data, sink.url)
        task = await started(kit, collector)
        await sink.until(lambda: len(sink.lines) == 20)
        collector.stop()
        assert await task
        old = collector.lanes[0].stream.id
    file = data / "checkpoint.json"
    file.write_bytes(harm(file.read_bytes()))
    second = append(kit.log, 20, 40)
    async with kit.Sink() as sink:
        collector = collector_of(kit.folder, data, sink.url, read_from="end")
        task = await started(kit, collector)
        await sink.until(lambda: len(sink.lines) == 40)
        collector.stop()
        assert await task
        assert sink.lines == first + second
        assert collector.lanes[0].stream.id != old
        assert "checkpoint.json" in collector.report()["losses"][0]
    assert [path.name.partition("-")[2] for path in (data / "quarantine").iterdir()] == ["checkpoint.json"]


async def test_a_checkpoint_of_version_1_is_read_and_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.json"
    stored = {"version": 1, "streams": [{"id": "s1", "seq": 7, "batch": None}], "inputs": {"net": "12"}}
    file.write_text(json.dumps(stored))
    checkpoint = Checkpoint(file)
    checkpoint.load(1)
    assert (checkpoint.streams[0].id, checkpoint.streams[0].seq, checkpoint.inputs) == ("s1", 7, {"net": "12"})
    assert not checkpoint.lost
    await checkpoint.save()
    assert json.loads(file.read_bytes())["version"] == 2
    again = Checkpoint(file)
    again.load(1)
    assert again.streams == checkpoint.streams


@pytest.mark.parametrize("number", [3, 99])
def test_a_newer_checkpoint_is_refused_and_left_alone(tmp_path: Path, number: int) -> None:
    file = tmp_path / "checkpoint.json"
    file.write_text(json.dumps({"version": number, "lanes": {}}))
    with pytest.raises(DpipeError, match=rf"version {number}.*start the newer one"):
        Checkpoint(file).load(1)
    assert json.loads(file.read_text())["version"] == number


async def test_a_checkpoint_that_cannot_be_written_holds_up_and_ends_nothing(
    kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "RETRY_SECS", 0.01)
    lines = append(kit.log, 0, 20)
    async with kit.Sink() as sink:
        collector = collector_of(kit.folder, kit.folder / "data", sink.url)
        task = await started(kit, collector)
        await sink.until(lambda: len(sink.lines) == 20)

        def full(path: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_module, "write_synced", full)
            lines += append(kit.log, 20, 40)
            await kit.eventually(lambda: "No space" in collector.trouble)
            assert len(sink.lines) == 20  # nothing is sent that is not saved
            assert collector.report()["healthy"] is False
        await sink.until(lambda: len(sink.lines) == 40)
        await kit.eventually(lambda: not collector.trouble)
        collector.stop()
        assert await task
    assert sink.lines == lines


async def test_a_stop_while_the_checkpoint_cannot_be_written(kit, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = append(kit.log, 0, 20)
    async with kit.Sink() as sink:
        collector = collector_of(kit.folder, kit.folder / "data", sink.url)
        task = await started(kit, collector)
        await sink.until(lambda: len(sink.lines) == 20)

        def full(path: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_module, "write_synced", full)
            lines += append(kit.log, 20, 40)
            await kit.eventually(lambda: bool(collector.trouble))
            collector.stop()
            await task
        again = collector_of(kit.folder, kit.folder / "data", sink.url)
        task = await started(kit, again)
        await sink.until(lambda: set(sink.lines) == set(lines))
        again.stop()
        await task


async def test_room_of_the_spool_that_cannot_be_given_back_ends_nothing(kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.spool_feed.FREE_SECS", 0.0)
    monkeypatch.setattr("collector.collector.SAVE_EVERY_SECS", 0.01)
    calls: list[int] = []

    def fail(*_: object) -> int:
        calls.append(1)
        raise OSError(errno.EIO, "Input/output error")

    async with kit.Sink() as sink:
        collector = collector_of(kit.folder, kit.folder / "data", sink.url)
        task = await started(kit, collector)
        monkeypatch.setattr(collector.feeds[1]._storage, "free", fail)
        await log(collector, ["<13>one"])
        await kit.eventually(lambda: len(calls) > 2)
        await log(collector, ["<13>two"])
        await sink.until(lambda: sink.lines == ["<13>one", "<13>two"])
        collector.stop()
        assert await task

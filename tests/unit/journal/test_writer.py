"""The one writer: it groups, judges batch ids, answers after the sync, and gets over a disk that fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from dpiped.batch import BatchId
from dpiped.errors import BatchConflictError, UnavailableError
from dpiped.journal.append import Draft, Lot, gather
from dpiped.journal.base import Recovered
from dpiped.journal.journal import FORGET_STREAM_MS, Journal
from dpiped.journal.memory import MemoryStorage
from dpiped.journal.record import Frame, Marks
from dpiped.pack import Head, PackPool, Route
from dpiped.telemetry import Telemetry
from dpiped.testing import until


class Disk(MemoryStorage):
    """A storage whose writes can be held and can fail, and that remembers its groups."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.fail_writes = self.fail_cuts = self.cuts = 0
        self.free_bytes: int | None = None

    def append(self, frames: Sequence[Frame], marks: Callable[[], Marks]) -> None:
        assert self.go.wait(10)
        if self.fail_writes:
            self.fail_writes -= 1
            raise OSError(28, "No space left on device")
        super().append(frames, marks)
        self.groups.append([frame.head.offset for frame in frames])

    def cut(self) -> None:
        if self.fail_cuts:
            self.fail_cuts -= 1
            raise OSError(5, "Input/output error")
        self.cuts += 1

    def free_disk_bytes(self) -> int | None:
        return self.free_bytes


@asynccontextmanager
async def writing(disk: Disk, **options: Any) -> AsyncIterator[Journal]:
    commits: list[tuple[int, Route]] = []
    journal = Journal(
        disk,
        PackPool(1 << 20),
        Telemetry(),
        on_commit=commits.extend,
        readers=lambda: (),
        **{"max_bytes": 1 << 30, **options},
    )
    await journal.open()
    task = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        disk.go.set()
        task.cancel()
        await asyncio.wait((task,))
        await journal.close()


def lot(number: int = 0, stream: str = "", seq: int = 0, nonce: str = "", size: int = 20) -> Lot:
    body = b'{"@timestamp":%d,"x":"%s"}\n' % (number, b"x" * size)
    head = Head(project="rs", ident=f"i{number}", count=1, raw_bytes=len(body), stream=stream, seq=seq, nonce=nonce)
    return Lot([Draft(head, body)], BatchId(stream, seq, nonce) if stream else None)


async def together(journal: Journal, disk: Disk, *lots: Lot) -> list[Any]:
    """Appends all lots so that they share one group: a first write is held until all are queued."""
    disk.go.clear()
    first = asyncio.create_task(journal.append("first", "control", [lot(99)]))
    await until(lambda: bool(journal._writing))
    tasks = [asyncio.create_task(journal.append(f"o{n}", "input", [one])) for n, one in enumerate(lots)]
    await until(lambda: len(journal._queue) == len(lots))
    disk.go.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_is_one_group() -> None:
    disk = Disk()
    async with writing(disk) as journal:
        assert await together(journal, disk, *(lot(n) for n in range(5))) == [False] * 5
        assert disk.groups == [[0], [1, 2, 3, 4, 5]]
        assert journal.next == 6


async def test_a_repeat_is_known_in_its_own_group_and_later() -> None:
    disk = Disk()
    async with writing(disk) as journal:
        assert await together(journal, disk, lot(1, "s", 1, "a"), lot(1, "s", 1, "a"), lot(1, "s", 2, "b")) == [
            False,
            True,
            False,
        ]
        assert await journal.append("x", "input", [lot(1, "s", 2, "b")]) is True
        assert journal.next == 3


@pytest.mark.parametrize(("seq", "nonce"), [(5, "other"), (4, "a"), (4, "")])
async def test_another_batch_under_a_known_id_is_a_conflict(seq: int, nonce: str) -> None:
    disk = Disk()
    async with writing(disk) as journal:
        await journal.append("x", "input", [lot(1, "s", 5, "a")])
        with pytest.raises(BatchConflictError):
            await journal.append("x", "input", [lot(1, "s", seq, nonce)])
        assert journal.next == 1
        answers = await together(journal, disk, lot(1, "t", 1, "a"), lot(1, "t", 1, "b"))
        assert answers[0] is False
        assert isinstance(answers[1], BatchConflictError)


async def test_lower_numbers_of_a_lane_are_repeats() -> None:
    async with writing(Disk()) as journal:
        assert await journal.append("x", "input", [lot(1, "~s", 50)]) is False
        assert await journal.append("x", "input", [lot(1, "~s", 50)]) is True
        assert await journal.append("x", "input", [lot(1, "~s", 7)]) is True
        assert await journal.append("x", "input", [lot(1, "~s", 51)]) is False
        assert journal.next == 2


async def test_of_several_lots_only_the_new_ones_are_written() -> None:
    async with writing(Disk()) as journal:
        await journal.append("x", "input", [lot(1, "~s", 1)])
        assert await journal.append("x", "input", [lot(1, "~s", 1), lot(2, "~s", 2)]) is False
        assert journal.next == 2


async def test_an_item_in_conflict_writes_nothing_and_claims_no_number() -> None:
    async with writing(Disk()) as journal:
        await journal.append("x", "input", [lot(1, "s", 5, "a")])
        with pytest.raises(BatchConflictError):
            await journal.append("x", "input", [lot(1, "t", 1, "n"), lot(1, "s", 4, "z")])
        assert await journal.append("x", "input", [lot(1, "t", 1, "n")]) is False


async def test_full_stops_inputs_only_and_repeats_are_still_known() -> None:
    disk = Disk()
    async with writing(disk, max_bytes=5_000) as journal:
        while not journal.room.full:
            await journal.append("x", "input", [lot(1, "s", journal.next + 1, size=300)])
        last = journal.next
        with pytest.raises(UnavailableError):
            await journal.append("x", "input", [lot(1, "s", last + 1)])
        assert await journal.append("x", "input", [lot(1, "s", last)]) is True
        assert await journal.append("f", "filter", [lot(1)]) is False
        assert await journal.append("f", "control", [lot(1)]) is False
        disk.used_bytes = 4_600  # below the budget, above the low-water mark
        with pytest.raises(UnavailableError):
            await journal.append("x", "input", [lot(1, "s", last + 1)])
        disk.used_bytes = 4_400
        assert await journal.append("x", "input", [lot(1, "s", last + 1)]) is False


async def test_too_little_room_on_the_disk_stops_all() -> None:
    disk = Disk()
    disk.free_bytes = 10
    async with writing(disk, min_free_bytes=100) as journal:
        for kind in ("input", "filter", "control"):
            with pytest.raises(UnavailableError):
                await journal.append("x", kind, [lot(1)])  # type: ignore[arg-type]


async def test_a_failed_write_is_cut_back_said_and_got_over() -> None:
    disk = Disk()
    async with writing(disk) as journal:
        await journal.append("x", "input", [lot(1, "s", 1, "a")])
        disk.fail_writes, disk.fail_cuts = 1, 2
        with pytest.raises(UnavailableError):
            await journal.append("x", "input", [lot(1, "s", 2, "b")])
        assert (disk.cuts, disk.fail_cuts) == (1, 0), "503 is said only after the cut"
        assert journal.room.failing
        assert journal.next == 1
        assert await journal.append("x", "input", [lot(1, "s", 2, "b")]) is False, "it claimed no number"
        assert not journal.room.failing
        assert disk.groups == [[0], [1]]


async def test_settle_withdraws_what_waits_and_waits_for_what_is_written() -> None:
    disk = Disk()
    async with writing(disk) as journal:
        disk.go.clear()
        written = asyncio.create_task(journal.append("mine", "input", [lot(1)]))
        await until(lambda: bool(journal._writing))
        queued = asyncio.create_task(journal.append("mine", "input", [lot(2)]))
        other = asyncio.create_task(journal.append("other", "input", [lot(3)]))
        await until(lambda: len(journal._queue) == 2)
        written.cancel()  # its task is gone, its bytes are on their way all the same
        settled = asyncio.create_task(journal.settle("mine"))
        await asyncio.wait((queued,))
        assert queued.cancelled()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not settled.done()
        disk.go.set()
        await settled
        assert journal.next == 1
        assert await other is False
        assert [frame.head.ident for frame in disk.read(0, lambda route: True, 1 << 20)[0]] == ["i1", "i3"]


async def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.journal.journal.QUEUE_BYTES", 1_000)
    disk = Disk()
    async with writing(disk) as journal:
        disk.go.clear()
        tasks = [asyncio.create_task(journal.append("x", "input", [lot(n, size=400)])) for n in range(20)]
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(journal._queue) + len(journal._writing) < 8
        disk.go.set()
        await asyncio.gather(*tasks)
        assert journal.next == 20


async def test_the_next_offset_is_above_all_that_is_known() -> None:
    disk = Disk()
    journal = Journal(
        disk, PackPool(1 << 20), Telemetry(), on_commit=lambda routes: None, readers=lambda: (), max_bytes=1 << 30
    )
    found = await journal.open(at_least=700)
    assert isinstance(found, Recovered)
    assert journal.next == 700
    await journal.close()


def draft(ident: str, count: int, mark: str, **head: Any) -> Draft:
    body = b"".join(b'{"@timestamp":1,"m":"%s"}\n' % mark.encode() for _ in range(count))
    return Draft(Head(project="rs", ident=ident, count=count, raw_bytes=len(body), **head), body)


def marks_of(drafts: Sequence[Draft]) -> list[tuple[str, str]]:
    return [(one.head.ident, "".join(line.decode()[-3] for line in (one.body or b"").splitlines())) for one in drafts]


def test_small_drafts_of_one_ident_are_gathered_in_order() -> None:
    drafts = [draft("a", 1, "1"), draft("b", 1, "2"), draft("a", 2, "3"), draft("b", 1, "4")]
    assert marks_of(gather(drafts)) == [("a", "133"), ("b", "24")]


def test_nothing_overtakes_a_large_draft_of_its_ident() -> None:
    gathered = gather([draft("a", 1, "1"), draft("a", 600, "2"), draft("a", 1, "3")])
    assert [text[-1] for _, text in marks_of(gathered)] == ["1", "2", "3"]


def test_hosts_that_differ_move_into_the_events() -> None:
    one = gather([draft("a", 1, "1", host="h1"), draft("a", 1, "2", host="h2")])
    assert len(one) == 1
    assert one[0].head.host == ""
    assert (one[0].body or b"").count(b'"_host":"h1"') == 1


def test_what_gathered_events_lack_is_what_all_lacked() -> None:
    both, source = frozenset(("_host", "_source")), frozenset(("_source",))
    for hosts, lacks, expected in (
        ("hh", (both, both), both),
        ("hh", (both, source), source),
        ("hi", (both, both), source),
    ):
        drafts = [replace(draft("a", 1, "1", host=host), lacks=some) for host, some in zip(hosts, lacks, strict=True)]
        assert gather(drafts)[0].lacks == expected


@pytest.mark.parametrize("more", [{"stream": "s"}, {"position": ("tail", "5")}, {"cause": ("f", 3)}, {"only": "f"}])
def test_what_its_head_tells_is_not_gathered_away(more: dict[str, Any]) -> None:
    assert len(gather([draft("a", 1, "1", **more), draft("a", 1, "2", **more)])) == 2


async def test_streams_that_nobody_uses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async with writing(Disk()) as journal:
        now = int(time.time() * 1000)
        journal.marks.streams.update({"old": (1, "", now - FORGET_STREAM_MS - 1000), "used": (1, "", now - 1000)})
        await journal.append("x", "input", [lot(0)])
        assert set(journal.marks.streams) == {"old", "used"}, "not at each write"
        monkeypatch.setattr("dpiped.journal.journal.FORGET_EVERY_SECS", 0.0)
        await journal.append("x", "input", [lot(1)])
        assert set(journal.marks.streams) == {"used"}

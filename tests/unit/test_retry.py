"""A letter that a runner refused goes back to that runner alone, as what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpiped.batch import Batch
from dpiped.deadletter import Letter
from dpiped.errors import RejectedError
from dpiped.plugin import Output
from dpiped.retry import STEP_LETTERS, Retrier
from dpiped.selection import Selection
from dpiped.testing import until
from dpiped.testing.parts import NoConfig, Parts, parts


class Picky(Output[NoConfig]):
    """Refuses events with `bad` while `picky`."""

    picky = True
    got: list[tuple[bytes, str, str, str, str]]

    async def write(self, batch: Batch) -> None:
        lines = [(view.head, line) for view in batch.views for line in view.body.splitlines()]
        bad = {n: "too bad" for n, (_, line) in enumerate(lines) if self.picky and b"bad" in line}
        self.got += [
            (line, head.project, head.ident, head.host, head.source)
            for n, (head, line) in enumerate(lines)
            if n not in bad
        ]
        if bad:
            raise RejectedError(bad)


def kind(**more: Any) -> type[Picky]:
    return type("Picky", (Picky,), {"got": [], **more})


def retrier(world: Parts, *names: str) -> Retrier:
    return Retrier(world.around, lambda name: None, lambda: names, "rs")


async def test_to_the_one_that_refused_and_to_nobody_else(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        picky, other = kind(), kind(picky=False)
        refusing, taking = world.output(picky, match=["web.*"]), world.output(other, name="other")
        await world.start(refusing, taking)
        await world.append(
            b'{"@timestamp":5,"t":"bad 1"}\n{"@timestamp":6}\n{"@timestamp":7,"t":"bad 2"}\n',
            ident="web.a",
            host="web-7",
            source="/x.log",
        )
        await until(lambda: world.around.deadletters.count == 2 and taking.events == 3)
        retry = retrier(world, "out", "other")
        told = await retry.retry(Selection(text="bad"))
        assert (told.sent, told.refused.total()) == (2, 0)
        await until(lambda: world.around.deadletters.count == 2)  # refused once more
        picky.picky = False
        assert (await retry.retry(Selection(plugin="out"))).sent == 2
        await until(lambda: len(picky.got) == 3)
        assert world.around.deadletters.count == 0
        place = ("rs", "web.a", "web-7", "/x.log")
        assert picky.got[1:] == [
            (b'{"@timestamp":5,"t":"bad 1"}', *place),
            (b'{"@timestamp":7,"t":"bad 2"}', *place),
        ]
        assert len(other.got) == 3
        frames, _ = world.journal.storage.read(0, lambda route: route.only == "out", 1 << 20)
        assert [(frame.head.min_ts, frame.head.max_ts, frame.head.count) for frame in frames] == [(5, 7, 2)] * 2


async def test_without_its_runner_a_letter_stays(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        await world.start(runner := world.output(kind()))
        await world.append(b'{"@timestamp":5,"t":"bad"}\n')
        await until(lambda: world.around.deadletters.count == 1)
        await world.stop(runner)
        told = await retrier(world, "other").retry(Selection(all=True))
        assert told.sent == 0
        assert dict(told.refused) == {"there is no runner 'out' in the config": 1}
        assert world.around.deadletters.count == 1
        assert world.journal.next == 1


async def test_many_go_in_steps_each_once(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        plugin = kind(picky=False)
        await world.start(world.output(plugin))
        amount = 2 * STEP_LETTERS + 7
        now = 1 << 42
        await world.around.deadletters.put(
            [
                Letter(f"out/e-{n:05}/0", "no", "out", True, "rs", "app", "", "", now + n, b'{"@timestamp":%d}' % n)
                for n in range(amount)
            ]
        )
        assert (await retrier(world, "out").retry(Selection(all=True))).sent == amount
        await until(lambda: len(plugin.got) == amount)
        assert [line for line, *_ in plugin.got] == [b'{"@timestamp":%d}' % n for n in range(amount)]
        assert world.around.deadletters.count == 0
        assert world.journal.next == 3


async def test_what_is_no_event_stays_with_the_reason(tmp_path: Path) -> None:
    async with parts(tmp_path) as world:
        await world.start(world.output(kind()))
        now = 1 << 42
        await world.around.deadletters.put(
            [Letter("out/x/0", "no", "out", True, "rs", "app", "", "", now, b'{"@timestamp":"soon"}')]
        )
        told = await retrier(world, "out").retry(Selection(causes=["out/x/0", "unknown"]))
        assert (told.sent, told.refused.total()) == (0, 1)
        (left,) = world.around.deadletters.scan()
        assert left.reason.startswith("it is no stored event")

"""What the runner of an output does for plugins that hold events back: `due_secs` and `act`, and what is saved when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dpiped.batch import Batch
from dpiped.errors import TemporaryError
from dpiped.plugin import Output
from dpiped.testing import until
from dpiped.testing.parts import NoConfig, parts

RETRY = {"initial_secs": 0.001, "max_secs": 0.002}


@pytest.fixture(autouse=True)
def _saved_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.runner.SAVE_SECS", 0.02)


def event(number: int) -> bytes:
    return b'{"@timestamp":%d}\n' % number


class Holder(Output[NoConfig]):
    """Holds offsets until there are `enough`; `sent` are those of each message, `fails` how often `act` fails first."""

    enough = 1
    fails = 0
    sent: list[str]
    runner: Any = None
    seen: list[tuple[bytes | None, int]]
    """State and cursor as they were stored when `act` began."""

    async def open(self, saved: bytes | None) -> None:
        self.held = (saved or b"").decode()

    async def write(self, batch: Batch) -> None:
        self.held += "".join(str(view.head.offset) for view in batch.views)

    def due_secs(self) -> float | None:
        return 0.0 if len(self.held) >= self.enough else None

    async def act(self) -> None:
        stored = self.runner.around.state.synced[self.runner.key]
        self.seen.append((stored.plugin, stored.cursor))
        if type(self).fails:
            type(self).fails -= 1
            raise TemporaryError("busy")
        self.sent.append(self.held)
        self.held = ""

    def saved(self) -> bytes | None:
        return self.held.encode()


def holder(**more: Any) -> Any:
    return type("Holder_", (Holder,), {"sent": [], "seen": [], **more})


async def test_state_is_stored_before_and_after_it_acts(tmp_path: Path) -> None:
    plugin = holder(enough=2)
    async with parts(tmp_path) as world:
        plugin.runner = runner = world.output(plugin)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: runner.saved.cursor == 1)
        assert (plugin.sent, runner.saved.plugin) == ([], b"0")
        await world.append(event(1))
        await until(lambda: bool(plugin.sent) and runner.saved.plugin == b"")
        await until(lambda: runner.saved.cursor == 2)
    assert plugin.sent == ["01"]
    assert plugin.seen == [(b"01", 1)]  # the pack in hand is not passed yet, so a stop that waits for it waits for this


async def test_what_is_held_outlives_a_stop(tmp_path: Path) -> None:
    plugin = holder(enough=2)
    for offset in range(2):
        async with parts(tmp_path) as world:
            plugin.runner = runner = world.output(plugin)
            await world.start(runner)
            await world.append(event(offset))
            await until(lambda n=offset + 1, held=runner: held.reader.cursor == n)  # type: ignore[misc]
    assert plugin.sent == ["01"]


async def test_packs_go_on_while_it_cannot_act(tmp_path: Path) -> None:
    plugin = holder(fails=1_000_000)
    async with parts(tmp_path) as world:
        plugin.runner = runner = world.output(plugin, retry=RETRY)
        await world.start(runner)
        await world.append(*(event(n) for n in range(5)))
        await until(lambda: runner.saved.cursor == 5)
        assert (runner.status, runner.last_error, plugin.sent) == ("retrying", "busy", [])
        plugin.fails = 0
        await until(lambda: runner.status == "running")
        assert (runner.last_error, plugin.sent) == ("", ["01234"])


class Deaf(Holder):
    """Loses a stop, as `asyncio.wait_for` of Python 3.11 can, and fails."""

    async def act(self) -> None:
        self.sent.append("called")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TemporaryError("lost it") from None


class DeafStore(Deaf):
    async def write(self, batch: Batch) -> None:
        await self.act()


@pytest.mark.parametrize("base", [Deaf, DeafStore])
async def test_a_stop_that_a_plugin_loses_is_a_stop(tmp_path: Path, base: type[Output[NoConfig]]) -> None:
    plugin: Any = type("Deaf_", (base,), {"sent": [], "seen": []})
    async with parts(tmp_path) as world:
        runner = world.output(plugin, retry=RETRY)
        await world.start(runner)
        await world.append(event(0))
        await until(lambda: bool(plugin.sent))
        await asyncio.wait_for(world.stop(runner), 5)
        assert runner.status == "stopped"
    assert plugin.sent == ["called"]


async def test_a_plugin_is_asked_for_its_status_only_when_it_is_open(tmp_path: Path) -> None:
    gate = asyncio.Event()

    class Slow(Holder):
        async def open(self, saved: bytes | None) -> None:
            await gate.wait()
            self.held, self.place = "", "here"

        def status(self) -> dict[str, object]:
            return {"place": self.place}

    async with parts(tmp_path) as world:
        runner = world.output(type("Slow_", (Slow,), {"sent": [], "seen": []}))
        await world.start(runner)
        await asyncio.sleep(0)
        assert "place" not in runner.report()
        gate.set()
        await until(lambda: runner.status == "running")
        assert runner.report()["place"] == "here"
        await world.stop(runner)
        assert runner.report()["place"] == "here"

"""Input `kafka` in a rebalance: what is on its way is stored and committed before another member may begin."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from dpiped.errors import TemporaryError
from dpiped.kafka import KafkaInputConfig
from dpiped.plugin import PluginContext, Receipt
from dpiped.telemetry import Telemetry
from plugins.inputs import kafka
from plugins.inputs.kafka import KafkaInput


class Place(NamedTuple):
    topic: str
    partition: int
    offset: int = -1


class Message(NamedTuple):
    at: int

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return b'{"n":%d}' % self.at

    def error(self) -> None:
        return None


class Consumer:
    """Gives what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.done: list[str] = []

    def consume(self, most: int, secs: float) -> list[Message]:
        step = self.script.pop(0) if self.script else list
        found: list[Message] = step()
        return found

    def commit(self, offsets: list[Any], asynchronous: bool) -> None:
        self.done.append(f"commit {offsets[0].offset}{'' if asynchronous else ' at once'}")

    def committed(self, places: list[Any], timeout: float) -> list[Place]:
        return [Place("t", 0, -1001)]

    def get_watermark_offsets(self, place: Any, timeout: float = 0, cached: bool = False) -> tuple[int, int]:
        return (0, 100)

    def incremental_assign(self, places: list[Any]) -> None:
        self.done.append(f"assign {places[0].offset}")

    def incremental_unassign(self, places: list[Any]) -> None:
        self.done.append("unassign")

    def close(self) -> None:
        self.done.append("close")


async def ready(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> KafkaInput:
    config = KafkaInputConfig(brokers=("a:1",), topics=("t",), group="g")
    made = KafkaInput(config, PluginContext(name="k", telemetry=Telemetry()))
    monkeypatch.setattr(made, "_start", lambda: None)
    await made.open()
    made._consumer.close()
    made._consumer = consumer
    return made


async def test_a_partition_goes_when_what_was_read_of_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, durable, emitted = Consumer(), asyncio.Event(), asyncio.Event()
    made = await ready(consumer, monkeypatch)
    place = [Place("t", 0)]
    revoking = asyncio.Event()
    loop = asyncio.get_running_loop()

    def assign() -> list[Message]:
        made._on_assign(consumer, place)
        return [Message(0), Message(1)]

    def revoke() -> list[Message]:
        loop.call_soon_threadsafe(revoking.set)
        made._on_revoke(consumer, place)
        return [Message(2)]  # was fetched before

    async def emit(data: bytes, **_: Any) -> Receipt:
        emitted.set()
        await durable.wait()
        taken.append(data)
        consumer.done.append("durable")
        return Receipt(1)

    taken: list[bytes] = []
    consumer.script = [assign, revoke]
    task = asyncio.create_task(made.run(emit))
    async with asyncio.timeout(20):
        await emitted.wait()
        await revoking.wait()
    await asyncio.sleep(0.05)  # time for what must not happen
    assert consumer.done == ["assign 0"]
    durable.set()
    async with asyncio.timeout(20):
        while "unassign" not in consumer.done:  # noqa: ASYNC110 - it is set in a thread
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait((task,))
    await made.close()
    assert consumer.done == ["assign 0", "durable", "commit 2 at once", "unassign", "close"]
    assert taken == [b'{"n":0}\n{"n":1}\n']


async def test_a_rebalance_that_cannot_wait_begins_anew_without_what_was_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "REVOKE_SECS", 0.05)
    monkeypatch.setattr(kafka, "STOP_SECS", 0.05)
    consumer = Consumer()
    made = await ready(consumer, monkeypatch)
    place = [Place("t", 0)]

    def assign() -> list[Message]:
        made._on_assign(consumer, place)
        return [Message(0)]

    def revoke() -> list[Message]:
        made._on_revoke(consumer, place)
        return []

    async def emit(data: bytes, **_: Any) -> Receipt:
        await asyncio.Event().wait()
        raise AssertionError("the journal takes nothing")

    consumer.script = [assign, revoke]
    with pytest.raises(TemporaryError, match="a rebalance came while the journal took nothing"):
        await asyncio.wait_for(made.run(emit), 20)
    await made.close()
    assert consumer.done == ["assign 0", "unassign", "close"]

"""Output `kafka` at brokers inside of the test's process: what it asks them, and how it begins again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpiped.errors import TemporaryError
from dpiped.kafka import KafkaOutputConfig
from dpiped.plugin import PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import until
from dpiped.testing.parts import Parts, parts
from plugins.outputs.kafka import KafkaOutput
from tests.servers.kafka_stub import kafka_stub, make_topic, read_all

AT = 1_700_000_000_000
"""2023-11-14."""


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    with kafka_stub() as address:
        make_topic(address, "dpipe-cursors")
        yield address


def config(brokers: str, **more: Any) -> KafkaOutputConfig:
    return KafkaOutputConfig(**{"brokers": (brokers,), "topic": "logs", **more})


def output(world: Parts, name: str, given: KafkaOutputConfig) -> Any:
    return world.output(KafkaOutput, given, type="kafka", name=name, metadata=False)


def body(*numbers: int) -> bytes:
    return b"".join(b'{"@timestamp":1700000000000,"n":%d,"user":{"id":"u%d"}}\n' % (n, n % 2) for n in numbers)


async def test_keys_headers_and_topics(brokers: str, tmp_path: Path) -> None:
    for topic in ("by-rs.app-20231114", "by-rs.web-20231114"):
        make_topic(brokers, topic)
    headers = {"from": "{project}/{ident}/{source}"}
    given = config(brokers, topic="by-{ident}-%Y%m%d", key="user.id", headers=headers)
    async with parts(tmp_path) as world:
        runner = output(world, "keys", given)
        await world.append(body(1, 2), ident="rs.app", source="/x", min_ts=AT, max_ts=AT)
        await world.append(body(3), ident="rs.web", min_ts=AT, max_ts=AT)
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 2)
    found = read_all(brokers, "by-rs.app-20231114")
    assert sorted((message.key(), json.loads(message.value())["n"]) for message in found) == [(b"u0", 2), (b"u1", 1)]
    assert found[0].headers() == [("from", b"rs/rs.app//x")]
    assert len(read_all(brokers, "by-rs.web-20231114")) == 1


async def test_what_the_marker_knows_is_not_sent_again(brokers: str, tmp_path: Path) -> None:
    make_topic(brokers, "once")
    given = config(brokers, topic="once")
    async with parts(tmp_path) as world:
        runner = output(world, "once", given)
        await world.append(body(1), body(2))
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 2)
    shutil.rmtree(tmp_path / "state")  # so that the output begins at the oldest pack
    async with parts(tmp_path) as world:
        runner = output(world, "once", given)
        await world.append(body(3))
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 3)
        assert runner.events == 3
    assert sorted(json.loads(message.value())["n"] for message in read_all(brokers, "once")) == [1, 2, 3]


async def test_without_transactions(brokers: str, tmp_path: Path) -> None:
    make_topic(brokers, "plain")
    async with parts(tmp_path) as world:
        runner = output(world, "plain", config(brokers, topic="plain", exactly_once=False))
        await world.append(body(*range(500)))
        await world.start(runner)
        await until(lambda: runner.saved.cursor == 1)
    assert len(read_all(brokers, "plain")) == 500


def plugin(given: KafkaOutputConfig) -> KafkaOutput:
    return KafkaOutput(given, PluginContext(name="k", telemetry=Telemetry(), lane="k.1"))


async def test_what_check_connect_says(brokers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plugin(config(brokers, topic="absent-topic"))
    assert await made.probe() == [f"kafka {brokers}: topic absent-topic is not there: create it"]
    await made.close()
    monkeypatch.setattr("plugins.outputs.kafka.CONTACT_SECS", 0.2)
    made = plugin(config("127.0.0.1:1"))
    with pytest.raises(TemporaryError, match="no broker answers"):
        await made.probe()
    await made.close()


def test_properties_that_do_not_exist_are_told() -> None:
    assert KafkaOutput.check(config("a:1", properties={"no.such": 1})) == [
        'properties: No such configuration property: "no.such"'
    ]
    assert KafkaOutput.check(config("a:1", properties={"linger.ms": 7})) == []

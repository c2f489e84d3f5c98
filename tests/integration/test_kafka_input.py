"""Input `kafka` with the engine, at brokers inside of the test's process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpiped.testing import events_in, running, until
from tests.servers.kafka_stub import kafka_stub, produce

pytestmark = pytest.mark.slow  # these brokers let the first member of a group wait for three seconds


@pytest.fixture
def brokers() -> Iterator[str]:
    with kafka_stub() as address:
        yield address


def config(brokers: str, folder: Path, more: str = "", group: str = "g") -> str:
    """These brokers take nobody into a group that somebody has left: each start names another one."""
    return (
        f'[[project]]\nname = "rs"\n[[input]]\ntype = "kafka"\nbrokers = ["{brokers}"]\ngroup = "{group}"\n'
        f'linger_secs = 0.02\nident = "app"\n{more}\n[[output]]\ntype = "file"\npath = "{folder}/kafka.ndjson"\n'
    )


def report(engine: Any) -> dict[str, Any]:
    (runner,) = engine.inputs
    found: dict[str, Any] = runner.report()
    return found


def numbered(first: int, end: int) -> list[bytes]:
    return [b'{"n":%d}' % n for n in range(first, end)]


def numbers(file: Path) -> list[int]:
    return [event["n"] for event in events_in(file)]


async def test_messages_come_once_over_restarts(tmp_path: Path, brokers: str) -> None:
    out = tmp_path / "kafka.ndjson"
    for turn in range(3):
        produce(brokers, "t", numbered(turn * 100, turn * 100 + 100))
        async with running(config(brokers, tmp_path, 'topics = ["t"]', f"g{turn}"), tmp_path):
            await until(lambda end=turn * 100 + 100: len(numbers(out)) >= end)
    assert numbers(out) == list(range(300))
    assert {event["_source"] for event in events_in(out)} == {"t"}


async def test_fields_of_the_message_are_written_and_never_twice(tmp_path: Path, brokers: str) -> None:
    fields = 'topics = ["t"]\nfields = { key = "k", headers = "h", topic = "t", partition = "p", offset = "o" }'
    produce(brokers, "t", [b'{"n":1,"o":"own"}', b'[{\n"n":2},{"n":3}]'], b"key", {"trace": b"abc"})
    async with running(config(brokers, tmp_path, fields), tmp_path):
        await until(lambda: len(events_in(tmp_path / "kafka.ndjson")) == 3)
    for event in events_in(tmp_path / "kafka.ndjson"):
        assert (event["k"], event["h"], event["t"]) == ("key", {"trace": "abc"}, "t")
        assert event["o"] == ("own" if event["n"] == 1 else 1)
        assert isinstance(event["p"], int)


async def test_bad_messages_and_tombstones_hold_nobody_up(tmp_path: Path, brokers: str) -> None:
    values = [b'{"n":1}', b'{"n":', None, b"[1]", b'{\n "n": 2\n}', b'{"n":3}']
    produce(brokers, "t", values)
    async with running(config(brokers, tmp_path, 'topics = ["t"]'), tmp_path) as engine:
        await until(lambda: len(events_in(tmp_path / "kafka.ndjson")) == 3)
        assert numbers(tmp_path / "kafka.ndjson") == [1, 2, 3]
        assert report(engine)["rejected"] == 2
        assert b'dpipe_noted_events_total{plugin="kafka",what="tombstone"} 1.0' in engine.telemetry.metrics.text()
    async with running(config(brokers, tmp_path, 'topics = ["t"]', "again"), tmp_path) as engine:
        await until(lambda: report(engine).get("partitions") == 4)
        assert report(engine)["rejected"] == 0


async def test_lines_and_other_codecs(tmp_path: Path, brokers: str) -> None:
    produce(brokers, "t", [b"one", "zwei – 二".encode(), b"three"])
    async with running(config(brokers, tmp_path, 'topics = ["t"]\ncodec = "raw"'), tmp_path):
        await until(lambda: len(events_in(tmp_path / "kafka.ndjson")) == 3)
    assert [event["message"] for event in events_in(tmp_path / "kafka.ndjson")] == ["one", "zwei – 二", "three"]


async def test_latest_begins_at_the_end_of_the_very_first_start(tmp_path: Path, brokers: str) -> None:
    produce(brokers, "t", numbered(0, 10))
    more = 'topics = ["t"]\nstart = "latest"'
    async with running(config(brokers, tmp_path, more), tmp_path) as engine:
        await until(lambda: report(engine).get("partitions") == 4 and engine.journal.next > 0)
    produce(brokers, "t", numbered(10, 20))
    async with running(config(brokers, tmp_path, more, "again"), tmp_path):
        await until(lambda: len(numbers(tmp_path / "kafka.ndjson")) >= 10)
    assert numbers(tmp_path / "kafka.ndjson") == list(range(10, 20))


async def test_a_pattern_finds_topics(tmp_path: Path, brokers: str) -> None:
    produce(brokers, "logs-a", numbered(0, 1))
    produce(brokers, "logs-b", numbered(1, 2))
    produce(brokers, "other", numbered(2, 3))
    async with running(config(brokers, tmp_path, 'topics = ["^logs-.*"]'), tmp_path) as engine:
        await until(lambda: len(numbers(tmp_path / "kafka.ndjson")) == 2)
        assert report(engine)["partitions"] == 8
    assert sorted(numbers(tmp_path / "kafka.ndjson")) == [0, 1]


async def test_lag_is_told(tmp_path: Path, brokers: str) -> None:
    produce(brokers, "t", numbered(0, 10))
    async with running(config(brokers, tmp_path, 'topics = ["t"]'), tmp_path) as engine:
        await until(lambda: len(numbers(tmp_path / "kafka.ndjson")) == 10)
        await until(lambda: report(engine)["lag"] == 0)
        assert b'dpipe_source_lag_events{plugin="kafka"} 0.0' in engine.telemetry.metrics.text()
        json.dumps(report(engine))


@pytest.mark.parametrize(
    ("more", "told"),
    [('topics = ["absent"]', "no topic absent: create it"), ('topics = ["t"]', "no broker answers")],
)
async def test_one_clear_line(more: str, told: str, tmp_path: Path, brokers: str) -> None:
    at = brokers if "absent" in more else "127.0.0.1:1"
    async with running(config(at, tmp_path, more), tmp_path) as engine:
        await until(lambda: told in report(engine)["last_error"])
        assert "\n" not in report(engine)["last_error"]

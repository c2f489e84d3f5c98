"""Input and output `kafka` at a real broker: exact after kills on both sides and over rebalances, and what an operator
sees when something is wrong.
"""

from __future__ import annotations

import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Daemon, Program, events_in, started, wait_until
from .kafka_server import NEEDS_KAFKA, Kafka

pytestmark = NEEDS_KAFKA


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    server = Kafka(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.kill()


def reading(kafka: Kafka, topic: str, more: str = "") -> str:
    return (
        f'[[input]]\ntype = "kafka"\nbrokers = ["{kafka.address}"]\ntopics = ["{topic}"]\ngroup = "{topic}"\n'
        f'linger_secs = 0.02\nproperties = {{ "session.timeout.ms" = 6000 }}\n{more}\n'
    )


def writing(kafka: Kafka, topic: str, more: str = "") -> str:
    return (
        f'[[output]]\ntype = "kafka"\nname = "out-{topic}"\nbrokers = ["{kafka.address}"]\ntopic = "{topic}"\n'
        f'key = "n"\n{more}\n[output.retry]\nmax_secs = 1\n'
    )


def into_file(folder: Path) -> str:
    return f'[[output]]\ntype = "file"\npath = "{folder}/out/all.ndjson"\n'


def start(folder: Path, programs: list[Program], tables: str, name: str = "dpiped") -> Daemon:
    return started(programs, Daemon(folder, tables, name))


def plugin(made: Daemon, kind: str) -> dict[str, Any]:
    (found,) = (one for one in made.stat()["plugins"] if one["kind"] == kind and one["type"] == "kafka")
    return dict(found)


def post(made: Daemon, first: int, end: int, size: int = 0) -> None:
    body = b"".join(b'{"n":%d,"t":"%s"}\n' % (n, b"x" * size) for n in range(first, end))
    urllib.request.urlopen(f"{made.url}/ingest/rs/app", data=body, timeout=60).close()


def in_file(folder: Path) -> Counter[int]:
    return Counter(event["n"] for event in events_in(folder / "out"))


def exactly(found: Counter[int], count: int) -> bool:
    return set(found) == set(range(count)) and set(found.values()) == {1}


def test_what_is_read_is_exact_after_kills_of_daemon_and_broker(
    tmp_path: Path, programs: list[Program], kafka: Kafka
) -> None:
    chance = random.Random(1)
    kafka.create("in-kills")
    made = start(tmp_path, programs, reading(kafka, "in-kills") + into_file(tmp_path))
    for turn in range(6):
        kafka.send("in-kills", range(turn * 2_000, turn * 2_000 + 2_000))
        time.sleep(chance.uniform(0, 1.5))  # the moment is what is tried here
        made.kill()
        if turn in (1, 4):
            kafka.kill()
            kafka.start()
        made.start()
    wait_until(lambda: len(in_file(tmp_path)) == 12_000, "everything is read", 120)
    assert made.stop() == 0
    assert exactly(in_file(tmp_path), 12_000)


def test_what_is_written_is_exact_after_kills_of_daemon_and_broker(
    tmp_path: Path, programs: list[Program], kafka: Kafka
) -> None:
    chance = random.Random(2)
    kafka.create("out-kills")
    made = start(tmp_path, programs, writing(kafka, "out-kills"))
    for turn in range(8):
        for part in range(4):
            post(made, turn * 2_800 + part * 700, turn * 2_800 + part * 700 + 700)
        time.sleep(chance.uniform(0, 1.0))  # the moment is what is tried here
        if turn in (2, 5):
            kafka.kill()
            if turn == 5:
                made.kill()
            kafka.start()
        else:
            made.kill()
        if not made.running:
            made.start()
    wait_until(lambda: plugin(made, "output")["lag_packs"] == 0, "everything is written", 120)
    assert exactly(kafka.numbers("out-kills"), 8 * 2_800)


def test_a_lost_state_and_a_journal_that_begins_anew_double_and_lose_nothing(
    tmp_path: Path, programs: list[Program], kafka: Kafka
) -> None:
    import shutil

    kafka.create("out-lost")
    made = start(tmp_path, programs, writing(kafka, "out-lost"))
    post(made, 0, 1_000)
    wait_until(lambda: plugin(made, "output")["lag_packs"] == 0, "it is written")
    made.kill()
    shutil.rmtree(tmp_path / "dpiped" / "state")
    made.start()
    post(made, 1_000, 1_500)
    wait_until(lambda: plugin(made, "output")["lag_packs"] == 0, "it is written")
    made.kill()
    shutil.rmtree(tmp_path / "dpiped")
    made.start()
    post(made, 1_500, 2_000)
    wait_until(lambda: plugin(made, "output")["lag_packs"] == 0 and plugin(made, "output")["events"] == 500, "written")
    assert exactly(kafka.numbers("out-lost"), 2_000)


def test_two_daemons_share_the_partitions_over_rebalances(
    tmp_path: Path, programs: list[Program], kafka: Kafka
) -> None:
    kafka.create("shared")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = (Daemon(folder, reading(kafka, "shared") + into_file(folder)) for folder in folders)
    programs += [one, two]
    one.start()
    sent = 0

    def send() -> None:
        nonlocal sent
        kafka.send("shared", range(sent, sent + 4_000))
        sent += 4_000

    send()
    two.start()  # a rebalance while the first one reads
    send()
    wait_until(lambda: plugin(two, "input")["partitions"] == 2, "the second one has its share")
    send()
    assert one.stop() == 0  # and back
    send()
    wait_until(lambda: plugin(two, "input")["partitions"] == 4, "the second one has all")
    one.start()
    send()
    wait_until(lambda: len(in_file(folders[0]) | in_file(folders[1])) == sent, "everything is read", 90)
    assert one.stop() == two.stop() == 0
    assert exactly(in_file(folders[0]) + in_file(folders[1]), sent)
    assert in_file(folders[0])
    assert in_file(folders[1])


def test_kafka_to_kafka_is_exact_over_kills(tmp_path: Path, programs: list[Program], kafka: Kafka) -> None:
    kafka.create("from", "to")
    made = start(tmp_path, programs, reading(kafka, "from") + writing(kafka, "to"))
    for turn in range(4):
        kafka.send("from", range(turn * 3_000, turn * 3_000 + 3_000))
        made.kill()
        made.start()
    wait_until(lambda: len(kafka.numbers("to")) == 12_000, "everything arrives", 120)
    assert exactly(kafka.numbers("to"), 12_000)


def test_a_topic_written_by_transactions_is_read_to_its_end(
    tmp_path: Path, programs: list[Program], kafka: Kafka
) -> None:
    kafka.create("transactions")
    tables = writing(kafka, "transactions", 'match = ["app"]') + reading(kafka, "transactions")
    made = start(tmp_path, programs, tables)
    for turn in range(3):
        post(made, turn * 100, turn * 100 + 100)
        made.wait_delivered("out-transactions")
    wait_until(lambda: plugin(made, "input")["events"] == 300, "everything comes back")
    wait_until(lambda: plugin(made, "input")["lag"] == 0, "nothing is left")
    wait_until(lambda: kafka.left_by("transactions", "transactions") == 0, "other tools see the same")


def test_a_message_that_is_too_large_for_its_topic_goes_to_the_dead_letter(
    tmp_path: Path, programs: list[Program], kafka: Kafka
) -> None:
    kafka.create("small", config={"max.message.bytes": "20000"})
    made = start(tmp_path, programs, writing(kafka, "small", 'compression = "none"'))
    post(made, 0, 100, 500)
    post(made, 100, 101, 30_000)
    post(made, 101, 200, 500)
    wait_until(lambda: plugin(made, "output")["events"] == 200, "the rest is written", 60)
    found = kafka.numbers("small")
    assert set(found) == set(range(200)) - {100}
    assert set(found.values()) == {1}
    with urllib.request.urlopen(f"http://127.0.0.1:{made.admin}/admin/deadletters", timeout=20) as answer:
        (letter,) = json.load(answer)["letters"]
    assert "20000 bytes" in letter["reason"]


def test_another_producer_of_the_same_id_is_told(tmp_path: Path, programs: list[Program], kafka: Kafka) -> None:
    kafka.create("fenced")
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(start(tmp_path / name, programs, writing(kafka, "fenced")))
        wait_until(lambda: "transactional_id" in plugin(made[-1], "output"), f"{name} has the producer")
    post(made[1], 0, 10)
    wait_until(lambda: plugin(made[1], "output")["lag_packs"] == 0, "the second one writes")
    post(made[0], 10, 20)
    wait_until(lambda: "another producer has transactional_id" in made[0].text(), "the first one says why not")
    wait_until(lambda: plugin(made[0], "output")["lag_packs"] == 0, "it writes all the same")
    assert exactly(kafka.numbers("fenced"), 20)


@pytest.mark.parametrize(
    ("password", "topic", "told"),
    [("wrong", "there", "the credentials are refused"), ("right", "nowhere", "topic nowhere")],
)
def test_one_clear_line(
    password: str, topic: str, told: str, tmp_path: Path, programs: list[Program], kafka: Kafka
) -> None:
    if "there" not in kafka.admin().list_topics(timeout=20).topics:
        kafka.create("there")
    way = f'user = "dpipe"\npassword = "{password}"\nmechanism = "PLAIN"\n'
    tables = (reading(kafka, topic, way) + writing(kafka, topic, way)).replace(kafka.address, kafka.ways["SASL"])
    made = start(tmp_path, programs, tables)
    post(made, 0, 10)
    for kind in ("input", "output"):
        wait_until(lambda kind=kind: told in plugin(made, kind)["last_error"], f"the {kind} tells it: {told}")
        assert password not in ("wrong",) or password not in plugin(made, kind)["last_error"]

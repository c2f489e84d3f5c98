"""Brokers inside of a client library: librdkafka's mock cluster, at a free port. It knows topics, groups and
transactions, makes topics by itself, and forgets everything at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

PARTITIONS = 4
"""Of each topic."""


@contextmanager
def kafka_stub() -> Iterator[str]:
    """HOST:PORT of the brokers."""
    holder = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 0})
    (broker,) = holder.list_topics(timeout=20).brokers.values()
    yield f"{broker.host}:{broker.port}"
    holder.close()


def make_topic(address: str, topic: str) -> None:
    """These brokers make a topic when they are asked for it."""
    client = Producer({"bootstrap.servers": address, "log_level": 0})
    client.list_topics(topic, timeout=20)
    client.close()


def produce(
    address: str, topic: str, values: Iterable[bytes | None], key: bytes | None = b"same", headers: Any = None
) -> None:
    """Sends messages, in order; those of one key go to one partition."""
    producer = Producer({"bootstrap.servers": address, "log_level": 0, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, key=key, headers=headers)
        producer.poll(0)
    assert producer.flush(20) == 0
    producer.close()


def read_all(address: str, topic: str, secs: float = 20.0) -> list[Any]:
    """All messages of a topic, partition after partition, as one sees them who reads what was committed."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "test-reader", "enable.partition.eof": True, "log_level": 0}
    )
    places = [
        TopicPartition(topic, number, 0) for number in consumer.list_topics(topic, timeout=20).topics[topic].partitions
    ]
    consumer.assign(places)
    found: dict[int, list[Any]] = {place.partition: [] for place in places}
    ends = 0
    deadline = time.monotonic() + secs
    while ends < len(places):
        assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
        for message in consumer.consume(1_000, 0.1):
            if message.error() is None:
                found[message.partition()].append(message)
            else:
                assert message.error().name() == "_PARTITION_EOF", message.error()
                ends += 1
    consumer.close()
    return [message for number in sorted(found) for message in found[number]]

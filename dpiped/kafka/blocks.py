"""Blocks: what was fetched, by topics, without what is not wanted; and what of a message goes into its events.

A message is what the library gives: `topic()`, `partition()`, `offset()`, `value()`, `error()`, ..
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from dpiped.kafka.avro import AvroReader, DamagedMessageError
from dpiped.kafka.positions import Partition
from dpiped.kafka.shares import Shares

_PARTITION_END = "_PARTITION_EOF"
"""Name of the error that comes in place of a message when all of a partition was fetched."""


class Block(NamedTuple):
    """Messages of one topic."""

    topic: str
    messages: Sequence[Any]
    values: Sequence[bytes]
    ends: Mapping[Partition, int]
    """The next offset of each of its partitions."""
    damaged: Mapping[int, str]
    """Index -> why the value is no event."""
    is_silent: bool = False
    """There was nothing to read up to `ends`, as behind a transaction: nothing that a journal has to know."""


def blocks_of(found: Sequence[Any], shares: Shares, avro: AvroReader | None) -> tuple[list[Block], int]:
    """(a block for each topic, and one of partitions that are read to their end; number of messages without a value).
    Raises TemporaryError of the schema registry.
    """
    groups: dict[Partition, list[Any]] = {}
    reached: dict[Partition, int] = {}
    for message in found:
        place = (message.topic(), message.partition())
        error = message.error()
        if error is None:
            group = groups.get(place)
            if group is None:
                group = groups[place] = []
            group.append(message)
        elif error.name() == _PARTITION_END:
            reached[place] = message.offset()
    topics: dict[str, list[Any]] = {}
    ends: dict[str, dict[Partition, int]] = {}
    for place, group in groups.items():
        wanted = shares.accept(place, [message.offset() for message in group])
        if wanted:
            whole = len(wanted) == len(group)
            topics.setdefault(place[0], []).extend(group if whole else [group[index] for index in wanted])
            ends.setdefault(place[0], {})[place] = group[wanted[-1]].offset() + 1
    blocks = [_block(topic, messages, ends[topic], avro) for topic, messages in topics.items()]
    tombstones = sum(map(len, topics.values())) - sum(len(block.values) for block in blocks)
    silent = {place: offset for place, offset in reached.items() if shares.pass_over(place, offset)}
    if silent:
        blocks.append(Block("", (), (), silent, {}, is_silent=True))
    return blocks, tombstones


def _block(topic: str, messages: Sequence[Any], ends: Mapping[Partition, int], avro: AvroReader | None) -> Block:
    values = [message.value() for message in messages]
    if None in values:
        messages = [message for message, value in zip(messages, values, strict=True) if value is not None]
        values = [value for value in values if value is not None]
    damaged: dict[int, str] = {}
    if avro is not None:
        for index, value in enumerate(values):
            try:
                values[index] = avro.read(value)
            except DamagedMessageError as exc:
                damaged[index] = str(exc)
    return Block(topic, messages, values, ends, damaged)


def fields_of(message: Any, names: Mapping[str, str]) -> Mapping[str, bytes]:
    """Name in the event -> value as JSON, of what the message has; `names`: key, headers, .. -> name in the event."""
    found = {name: _FIELDS[what](message) for what, name in names.items()}
    return {name: msgspec.json.encode(value) for name, value in found.items() if value is not None}


def _text(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "key": lambda message: _text(message.key()),
    "headers": lambda message: {name: _text(value) for name, value in message.headers() or ()} or None,
    "topic": lambda message: message.topic(),
    "partition": lambda message: message.partition(),
    "offset": lambda message: message.offset(),
    "timestamp": lambda message: message.timestamp()[1] if message.timestamp()[0] else None,
}

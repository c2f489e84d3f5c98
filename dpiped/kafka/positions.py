"""How far the partitions of some topics were read: the position of the input `kafka`.

The text, version 1, is JSON: {"version": 1, "topics": {TOPIC: {PARTITION: OFFSET}}}, where OFFSET is the next one to be
read. From 4 KiB on it is "z" and the base64 of that, compressed by zlib.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode

import msgspec

from dpiped.errors import DpipeError

_COMPRESS_FROM = 4096
Partition = tuple[str, int]


class _Stored(msgspec.Struct):
    version: int
    topics: dict[str, dict[int, int]]


class KafkaPositions:
    """The next offset of each partition. Not thread-safe."""

    def __init__(self, text: str | None = None) -> None:
        """Raises DpipeError when the text was not written by `text`."""
        self._topics: dict[str, dict[int, int]] = {}
        if text is None:
            return
        try:
            raw = zlib.decompress(b64decode(text[1:])) if text.startswith("z") else text.encode()
            stored = msgspec.json.decode(raw, type=_Stored)
        except (ValueError, zlib.error) as exc:
            raise DpipeError(f"position in Kafka cannot be read: {exc}") from exc
        if stored.version != 1:
            raise DpipeError(f"position in Kafka has version {stored.version}: written by a newer dpipe")
        self._topics = stored.topics

    def get(self, partition: Partition) -> int | None:
        """None: nothing of this partition was read."""
        return self._topics.get(partition[0], {}).get(partition[1])

    def put(self, partition: Partition, offset: int) -> None:
        self._topics.setdefault(partition[0], {})[partition[1]] = offset

    def knows(self, topic: str) -> bool:
        """Whether any partition of the topic was read."""
        return topic in self._topics

    def forget(self, topic: str) -> None:
        """The topic is not read any more."""
        self._topics.pop(topic, None)

    @property
    def topics(self) -> list[str]:
        return list(self._topics)

    def text(self) -> str:
        """All as one text; reading it back gives the same."""
        raw = msgspec.json.encode(_Stored(1, self._topics))
        return raw.decode() if len(raw) < _COMPRESS_FROM else "z" + b64encode(zlib.compress(raw, 1)).decode()

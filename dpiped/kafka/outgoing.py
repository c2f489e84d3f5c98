"""Outgoing: the messages that are made of one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from dpiped.view import PackView

Headers = list[tuple[str, bytes]]
OVERHEAD_BYTES = 200
"""What a message takes beside its key and value, at most about."""


class Outgoing:
    """In journal order. Filled on the event loop, read in a thread."""

    def __init__(self) -> None:
        self.indexes: list[int] = []
        """Place of each in the batch; shape (n,), as all of these."""
        self._topics: list[str] = []
        self._keys: list[bytes | None] = []
        self._bodies: list[bytes] = []
        self._headers: list[Headers | None] = []
        self._has_keys = False

    def add(
        self,
        view: PackView,
        body: bytes,
        first: int,
        topics: str | Sequence[str],
        keys: Sequence[Any] | None,
        headers: Headers | None,
    ) -> None:
        """The events of a pack; `first`: place of the first in the batch."""
        count = view.count
        self.indexes.extend(range(first, first + count))
        self._topics.extend([topics] * count if isinstance(topics, str) else topics)
        self._keys.extend([None] * count if keys is None else [_as_key(key) for key in keys])
        self._has_keys = self._has_keys or keys is not None
        self._headers.extend([headers] * count)
        self._bodies.append(body)

    def __len__(self) -> int:
        return len(self.indexes)

    def _values(self) -> list[bytes]:
        return b"".join(self._bodies).split(b"\n")[:-1]

    @property
    def has_headers(self) -> bool:
        return any(headers is not None for headers in self._headers)

    def messages(
        self, limits: Mapping[str, int], refused: dict[int, str]
    ) -> Iterator[tuple[int, str, bytes | None, bytes, Headers | None]]:
        """(index, topic, key, value, headers) of each. What is larger than the limit of its topic is put into
        `refused`, by its index.
        """
        values = self._values()
        rows = zip(self.indexes, self._topics, self._keys, values, self._headers, strict=True)
        if not limits:
            yield from rows
            return
        for row in rows:
            index, topic, key, value, _ = row
            limit = limits.get(topic)
            if limit is None or len(value) + len(key or b"") + OVERHEAD_BYTES <= limit:
                yield row
            else:
                refused[index] = f"larger than the {limit} bytes that topic {topic} takes"

    def by_topic(self, limits: Mapping[str, int], refused: dict[int, str]) -> dict[str, list[dict[str, Any]]]:
        """The same, for `produce_batch`, which leaves what it does not know alone; headers are left out."""
        if not limits and not self._has_keys and len(set(self._topics)) == 1:
            rows = zip(self._values(), self.indexes, strict=True)
            return {self._topics[0]: [{"value": value, "index": index} for value, index in rows]}
        found: dict[str, list[dict[str, Any]]] = {}
        for index, topic, key, value, _ in self.messages(limits, refused):
            group = found.get(topic)
            if group is None:
                group = found[topic] = []
            group.append({"value": value, "key": key, "index": index})
        return found


def _as_key(value: Any) -> bytes | None:
    """The value of a field as the key of a message: a text as it is, another as JSON."""
    if value is None:
        return None
    return value.encode("utf-8", "replace") if isinstance(value, str) else msgspec.json.encode(value)

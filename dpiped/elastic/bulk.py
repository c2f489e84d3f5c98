"""Bulk requests: built of bodies as they are stored, and what the server says of each event.

A request is, for each event, a line with the action and the line of the event:

    {"create":{"_id":"EPOCH-OFFSET-LINE"}}
    {"@timestamp":1700000000000,..}

The index stands in the URL when it is the same for all events of a request, else in each action. Ids are those of
`Batch.names`: derived from the place in the journal, so a repeat is a conflict (409), which means delivered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dpiped.batch import generation_ending
from dpiped.pack import MAX_PACK_EVENTS

if TYPE_CHECKING:
    from dpiped.batch import Batch
    from dpiped.view import PackView

Op = Literal["create", "index"]
REASON_CHARS = 500
BLOCKED = frozenset(
    {
        "index_not_found_exception",
        "cluster_block_exception",
        "index_closed_exception",
        "security_exception",
        "no_shard_available_action_exception",
        "unavailable_shards_exception",
    }
)
"""Errors that an operator has to mend: the events wait."""
_quoted = msgspec.json.Encoder().encode


class ElasticsearchEvents:
    """The events of a batch as they are sent, and which of them are still to be sent."""

    def __init__(self, batch: Batch, op: Op, id_field: str, indexes: Sequence[str | Sequence[str]]) -> None:
        """`indexes`: for each view the index of all its events, or one for each."""
        self.batch = batch
        distinct = {index for index in indexes if isinstance(index, str)}
        self.index = distinct.pop() if len(distinct) == 1 and all(isinstance(i, str) for i in indexes) else ""
        """The one of all events; empty if there are several."""
        self._starts: list[bytes] = []
        self._ends: list[bytes] = []
        self._sources: list[bytes] = []
        """Begin and end of the action of each event, and its own line; shape (n_events,)."""
        for view, body, index in zip(batch.views, batch.bodies, indexes, strict=True):
            self._sources += body.splitlines(keepends=True)
            own = _own_ids(view, id_field) if id_field else None
            self._starts += self._begun(view, op, index, own)
            self._ends += _ends_of(view, batch.generation) if own is None else own
        self._size = sum(map(len, batch.bodies)) + sum(map(len, self._starts)) + sum(map(len, self._ends))
        self._open = range(len(self._sources))
        self._settled: set[int] = set()
        self.refused: dict[int, str] = {}
        """Place -> why it can never be stored."""

    def _begun(
        self, view: PackView, op: Op, index: str | Sequence[str], own: Sequence[bytes] | None
    ) -> Sequence[bytes]:
        """The actions up to what differs between the events of an index."""
        head = view.head
        prefix = b"" if own is not None else f'"{head.epoch}-{head.offset:012x}-'.encode()

        def start(name: str) -> bytes:
            place = b"" if self.index else b'"_index":' + _quoted(name) + b","
            return b'{"' + op.encode() + b'":{' + place + b'"_id":' + prefix

        if isinstance(index, str):
            return [start(index)] * view.count
        starts = {name: start(name) for name in set(index)}
        return [starts[name] for name in index]

    def cut(self, most_bytes: int, most_events: int) -> Iterator[Sequence[int]]:
        """The places that are left, in requests of equal numbers of events and about equal size."""
        left = self.left
        size = self._size * len(left) // max(1, len(self._sources))
        parts = max(-(-len(left) // most_events), -(-size // most_bytes), 1)
        step = -(-len(left) // parts)
        return (left[at : at + step] for at in range(0, len(left), max(1, step)))

    @staticmethod
    def _of(column: list[bytes], places: Sequence[int]) -> list[bytes]:
        if isinstance(places, range):
            return column[places.start : places.stop]
        return [column[place] for place in places]

    @property
    def left(self) -> Sequence[int]:
        """Places of the events that are still to be sent."""
        if not self._settled:
            return self._open
        return [place for place in self._open if place not in self._settled]

    def settle(self, judged: Judged) -> None:
        """Notes what is not to be sent again."""
        self._settled.update(judged.settled)
        self.refused |= judged.refused

    def body(self, places: Sequence[int]) -> bytes:
        """The request of these events."""
        columns = (self._of(column, places) for column in (self._starts, self._ends, self._sources))
        return b"".join(chain.from_iterable(zip(*columns, strict=True)))


def _ends_of(view: PackView, generation: int) -> Sequence[bytes]:
    """The line numbers of the events, and what closes an action."""
    known = _numbers(generation)
    lines = view.lines
    if isinstance(lines, range) and lines.stop <= len(known):
        return known[: lines.stop]
    ending = generation_ending(generation)
    return [f'{line:04x}{ending}"}}}}\n'.encode() for line in lines]


@lru_cache(maxsize=8)
def _numbers(generation: int) -> list[bytes]:
    ending = generation_ending(generation)
    return [f'{line:04x}{ending}"}}}}\n'.encode() for line in range(MAX_PACK_EVENTS)]


def _own_ids(view: PackView, name: str) -> list[bytes]:
    """The values of a field as ids, closed; events without one keep the derived id."""
    head = view.head
    derived = f"{head.epoch}-{head.offset:012x}-"
    return [
        _quoted(f"{derived}{line:04x}" if value in (None, "") else str(value)) + b"}}\n"
        for value, line in zip(view.column(name), view.lines, strict=True)
    ]


@dataclass(slots=True)
class Judged:
    """What became of the events of one request."""

    settled: Sequence[int] = ()
    """Places of those that are stored, were there already, or are refused."""
    repeats: int = 0
    """So many were there already."""
    refused: dict[int, str] = field(default_factory=dict)
    """Place -> why it can never be stored."""
    again: list[int] = field(default_factory=list)
    """Places that the server had no room for now."""
    blocked: list[int] = field(default_factory=list)
    """Places that wait for an operator."""
    reason: str = ""
    """Of the first that is sent again or waits."""


class _Answer(msgspec.Struct):
    errors: bool = False


class _Item(msgspec.Struct):
    status: int
    error: Any = None


class _Items(msgspec.Struct):
    items: list[dict[str, _Item]]


_brief = msgspec.json.Decoder(_Answer)
_whole = msgspec.json.Decoder(_Items)


def judge(answer: bytes, places: Sequence[int], op: Op) -> Judged:
    """Reads an answer to a request of these events. Raises ValueError when it is not one."""
    try:
        if not _brief.decode(answer).errors:
            return Judged(settled=places)
        items = _whole.decode(answer).items
    except msgspec.DecodeError as exc:
        raise ValueError(f"the answer cannot be read: {exc}") from exc
    if len(items) != len(places):
        raise ValueError(f"the answer is about {len(items)} events, {len(places)} were sent")
    judged = Judged()
    settled = [
        place
        for place, item in zip(places, items, strict=True)
        if _is_settled(judged, place, next(iter(item.values())), op)
    ]
    judged.settled = settled
    return judged


def _is_settled(judged: Judged, place: int, item: _Item, op: Op) -> bool:
    if item.status < 300:
        return True
    kind, reason = _told(item.error)
    if item.status == 409 and op == "create":
        judged.repeats += 1
        return True
    if kind in BLOCKED or item.status in (401, 403):
        judged.blocked.append(place)
    elif item.status == 429 or item.status >= 500 or item.status == 409:
        judged.again.append(place)
    else:
        judged.refused[place] = reason
        return True
    judged.reason = judged.reason or reason
    return False


def _told(error: Any) -> tuple[str, str]:
    """(type, text) of an error, with what caused it."""
    if not isinstance(error, dict):
        return "", str(error)[:REASON_CHARS]
    text = f"{error.get('type')}: {error.get('reason')}"
    cause = error.get("caused_by")
    if isinstance(cause, dict):
        text += f" ({cause.get('type')}: {cause.get('reason')})"
    return str(error.get("type")), text[:REASON_CHARS]

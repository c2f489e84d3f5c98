"""PackView: one pack as one runner sees it, with its `where` applied and metadata at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

import msgspec

from dpiped.pack import Head, Pack
from dpiped.projection import HOST, METADATA_FIELDS, SOURCE, TIMESTAMP, Projection, Value

if TYPE_CHECKING:
    from dpiped.expressions import Predicate

IDENT, PROJECT = "_ident", "_project"
"""Can be read as `_host` and `_source` can."""
_NEWLINE = ord("\n")


class PackView:
    """The events of a pack that a runner wants. Cheap to make; computes on demand and remembers."""

    __slots__ = ("_body", "_mask", "count", "pack", "projection")

    def __init__(self, pack: Pack, projection: Projection, where: Predicate | None = None) -> None:
        self.pack = pack
        self.projection = projection
        self._mask: list[bool] | None = None
        self._body: bytes | None = None
        self.count = pack.head.count
        if where is not None:
            self._keep(where)

    def _keep(self, where: Predicate) -> None:
        mask = where.mask(self)
        kept = sum(mask)
        if kept < self.count:
            self._mask = mask
            self.count = kept

    def only(self, wanted: Sequence[bool]) -> PackView:
        """The same pack with only some of the events of this view, shape (count,)."""
        if all(wanted):
            return self
        fewer = PackView(self.pack, self.projection)
        left = iter(wanted)
        fewer._mask = list(wanted) if self._mask is None else [kept and next(left) for kept in self._mask]
        fewer.count = sum(wanted)
        return fewer

    @property
    def head(self) -> Head:
        return self.pack.head

    @property
    def whole(self) -> bool:
        """Whether all events of the pack are wanted."""
        return self._mask is None

    def slices(self, most: int) -> Iterator[PackView]:
        """The view in parts of about equal size, of at most so many events: for work that would keep the event loop
        busy for too long.
        """
        parts = -(-self.count // most)
        if parts <= 1:
            yield self
            return
        lines = self.body.splitlines(keepends=True)
        for part in range(parts):
            start, end = self.count * part // parts, self.count * (part + 1) // parts
            view = self.only([start <= at < end for at in range(self.count)])
            view._body = b"".join(lines[start:end])
            yield view

    @property
    def span(self) -> tuple[int, int]:
        """(smallest, largest) `@timestamp`, of one event or more."""
        if self._mask is None:
            return self.head.min_ts, self.head.max_ts
        stamps: Any = self.column(TIMESTAMP)
        return min(stamps), max(stamps)

    @property
    def lines(self) -> Sequence[int]:
        """Line numbers of the wanted events in the stored body, from 0: what derived names are made of."""
        if self._mask is None:
            return range(self.pack.head.count)
        return list(compress(range(self.pack.head.count), self._mask))

    @property
    def body(self) -> bytes:
        """The wanted events as they are stored, without metadata."""
        if self._mask is None:
            return self.pack.body
        if self._body is None:
            self._body = b"".join(compress(self.pack.body.splitlines(keepends=True), self._mask))
        return self._body

    def body_with_metadata(self, names: Mapping[str, str] | None = None) -> bytes:
        """The body with `_host` and `_source` of the head in each event that has no such field of its own; `names`: of
        those that have another name in the store.
        """
        fields = {name: value for name, value in ((HOST, self.head.host), (SOURCE, self.head.source)) if value}
        if names:
            body = self.body if self.pack.lacks.issuperset(METADATA_FIELDS) else _renamed(self.body, names)
            return with_fields(body, {names.get(name, name): value for name, value in fields.items()})
        if not fields:
            return self.body
        return with_fields(self.body, fields, self.pack.lacks)

    def column(self, path: str) -> list[Value]:
        """The values of a field, shape (count,); None = absent. `_host` and `_source` come from the head if it has
        them.
        """
        return self.typed(path)[0]

    def typed(self, path: str) -> tuple[list[Value], set[type]]:
        """The same, and the types of its values; of a view of a part of the pack perhaps some more."""
        constant = self.constant(path)
        if constant:
            return [constant] * self.count, {str}
        return self.own(path)

    def own(self, path: str) -> tuple[list[Value], set[type]]:
        """The same of what stands in the events themselves, whatever the head has."""
        column, kinds = self.projection.typed(self.pack.events(self.projection), path)
        return (column if self._mask is None else list(compress(column, self._mask))), kinds

    def constant(self, path: str) -> str:
        """The value that all events of the pack share because it stands in the head; empty if it does not."""
        if path == HOST:
            return self.head.host
        if path == SOURCE:
            return self.head.source
        if path == IDENT:
            return self.head.ident
        return self.head.project if path == PROJECT else ""


def with_fields(body: bytes, fields: dict[str, str], lacks: frozenset[str] = frozenset()) -> bytes:
    """Adds constant text fields to every event of a canonical body, never a key twice. Empty values are left out.

    Args:
        lacks: fields that no event has.
    """
    pieces = {name: value for name, value in fields.items() if value}
    if not pieces:
        return body
    if lacks.issuperset(pieces):
        return _splice(body, _members(pieces))
    from dpiped.codecs.lines import has_key  # here, because it needs numpy, which the collector does without

    present = any(has_key(body, name.encode()) for name in pieces)
    if not present and not (b"\\" in body and b"\\u" in body):  # keys may be written with escapes
        return _splice(body, _members(pieces))
    lines = []
    for line in body.splitlines(keepends=True):
        event = msgspec.json.decode(line, type=dict[str, msgspec.Raw])  # a value may be one that cannot be read
        missing = {name: value for name, value in pieces.items() if name not in event}
        lines.append(line[:-2] + _members(missing) + b"}\n" if missing else line)
    return b"".join(lines)


def _renamed(body: bytes, names: Mapping[str, str]) -> bytes:
    """Top-level fields under other names; an event that has a field of the other name keeps both values as they are."""
    marks = [b'"' + name.encode() + b'"' for name in names]
    if not any(mark in body for mark in marks):
        return body
    lines = body.splitlines(keepends=True)
    for place, line in enumerate(lines):
        if any(mark in line for mark in marks):
            event = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            other = {
                names[name] if names.get(name, name) not in event else name: value for name, value in event.items()
            }
            lines[place] = msgspec.json.encode(other) + b"\n"
    return b"".join(lines)


def _splice(body: bytes, members: bytes) -> bytes:
    """Adds members before the closing brace of each line.

    Each of these braces is made a zero first, which no JSON has: one byte is found and replaced far faster than two.
    Source: measured, 72 ns an event; 180 by slices of the body, 570 by a replacement of brace and newline.
    """
    import numpy as np  # here for the same reason

    octets = np.frombuffer(body, np.uint8)
    marked = np.full(len(octets), _NEWLINE, np.uint8)
    np.multiply(octets[:-1], (octets[1:] != _NEWLINE).view(np.uint8), out=marked[:-1])
    return marked.tobytes().replace(b"\0", members + b"}")


def _members(fields: dict[str, str]) -> bytes:
    return b"".join(b',"' + name.encode() + b'":' + msgspec.json.encode(value) for name, value in fields.items())

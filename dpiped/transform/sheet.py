"""The events of one pack while steps change them: columns to read and write, and the body that comes out.

As long as steps only add top-level fields that no event has, nothing is decoded: columns come from the projection that
all readers of the pack share, and the new members are encoded together and spliced in before the closing braces. The
first write that needs more decodes the top level of all events, once; all of them are encoded again at the end, once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import msgspec

from dpiped.transform.paths import NOTHING, FieldPath, Row, decode_rows, is_null

if TYPE_CHECKING:
    from dpiped.view import PackView

_encode_lines = msgspec.json.Encoder().encode_lines


class _Gone:
    """See GONE."""


GONE = _Gone()
"""In a column that is written: this event loses the field."""


class Sheet:
    """See the module. Lives for one pack."""

    def __init__(self, view: PackView) -> None:
        self._view = view
        self.count = view.count
        self.accepted_ms = view.head.accepted_ms
        self.mask: list[bool] | None = None
        """Which events the step at work is for; None: all. Columns of the others read as absent, and writes leave them
        alone.
        """
        self.failures: Counter[str] = Counter()
        """What could not be done -> in how many events."""
        self.marks: defaultdict[int, list[str]] = defaultdict(list)
        """Event -> what could not be done in it."""
        self._added: dict[str, Sequence[Any]] = {}
        self._rows: list[Row] | None = None
        self._touched: set[str] = set()
        """Top-level keys that may be others than they came."""
        self._escapes: bool | None = None

    # ---- reading ---------------------------------------------------------------------------------------------------
    def column(self, path: str) -> Sequence[Any]:
        """The values as the steps before left them, shape (count,); absent, null and objects are None."""
        if self._touched.isdisjoint(_tops(path)):
            values: Sequence[Any] = self._view.column(path)
        elif path in self._added:
            values = [None if value is NOTHING or isinstance(value, dict) else value for value in self._added[path]]
        else:
            values = list(map(FieldPath(path).value, self.rows()))
        if self.mask is None:
            return values
        return [value if kept else None for value, kept in zip(values, self.mask, strict=True)]

    def rows(self) -> list[Row]:
        """All events with their top level decoded; what is changed in them is changed for good (see `touch`)."""
        if self._rows is None:
            self._rows = decode_rows(self._view.body)
            for name, values in self._added.items():
                for row, value in zip(self._rows, values, strict=True):
                    if value is not NOTHING:
                        row[name] = value
            self._added.clear()
        return self._rows

    @property
    def chosen(self) -> Iterable[int]:
        """The events that the step at work is for."""
        if self.mask is None:
            return range(self.count)
        return [at for at, kept in enumerate(self.mask) if kept]

    def hidden(self, path: str, values: Sequence[Any]) -> list[int]:
        """Of the events whose `values` of a path are None, those that have it all the same: an object, or a number out
        of all bounds. Few packs need a look into the events.
        """
        present = sum(1 for value in values if value is not None)
        names = {path, path.rpartition(".")[2]}
        if present == self.count or (self._rows is None and not self._may_have(names, present)):
            return []
        field, rows = FieldPath(path), self.rows()
        return [at for at in self.chosen if values[at] is None and not _is_absent(field.member(rows[at]))]

    # ---- writing ---------------------------------------------------------------------------------------------------
    def write(self, path: str, values: Sequence[Any], step: str) -> None:
        """Puts a column there: NOTHING leaves an event alone, GONE takes the field out of it."""
        if self.mask is not None:
            values = [value if kept else NOTHING for value, kept in zip(values, self.mask, strict=True)]
        if self._rows is None and self._is_new(path):
            self._added[path] = values
        else:
            self._write_rows(path, values, step)
        self.touch(path)

    def _write_rows(self, path: str, values: Sequence[Any], step: str) -> None:
        field = FieldPath(path)
        blocked = []
        for at, (row, value) in enumerate(zip(self.rows(), values, strict=True)):
            if value is NOTHING:
                continue
            if value is GONE:
                field.remove(row)
            elif not field.write(row, value):
                blocked.append(at)
        self.fail(step, "no_place", blocked)

    def touch(self, path: str) -> None:
        """Says that a field was changed in the rows."""
        self._touched.update(_tops(path))

    def touch_all(self, fields: Iterable[str]) -> None:
        """Says so of many."""
        for path in fields:
            self.touch(path)

    def fail(self, step: str, reason: str, places: Sequence[int]) -> None:
        """These events stay as they are; counted."""
        if places:
            what = f"{step}_{reason}"
            self.failures[what] += len(places)
            for at in places:
                self.marks[at].append(what)

    def _is_new(self, path: str) -> bool:
        """Whether it is a top-level field that surely no event has."""
        return "." not in path and path not in self._added and not self._may_have({path}, 0)

    def _may_have(self, names: Iterable[str], times: int) -> bool:
        """Whether keys of these names may occur more often than so many times; not exact, but a no is sure."""
        body = self._view.body
        if self._escapes is None:
            self._escapes = b"\\" in body and (b"\\u" in body or b"\\/" in body)
        return self._escapes or sum(body.count(msgspec.json.encode(name)) for name in names) > times

    # ---- what comes out --------------------------------------------------------------------------------------------
    def body(self) -> bytes:
        """The canonical body of all events."""
        if self._rows is not None:
            return _encode_lines(self._rows)
        if not self._added:
            return self._view.body
        new = _encode_lines(list(map(_members(tuple(self._added)), *self._added.values())))
        return _spliced(self._view.body, new)


def _spliced(body: bytes, new: bytes) -> bytes:
    """A body with the members of the objects of another one. In both, what stands between lines stands nowhere else."""
    lines = body.split(b"}\n")
    lines.pop()
    members = new[1:-2].split(b"}\n{")
    if b"" in members:
        lines = [b"%b,%b" % (line, more) if more else line for line, more in zip(lines, members, strict=True)]
        return b"}\n".join([*lines, b""])
    return b"".join(chain.from_iterable(zip(lines, repeat(b","), members, repeat(b"}\n"), strict=False)))


def _is_absent(member: Any) -> bool:
    return member is NOTHING or is_null(member)


@lru_cache(maxsize=4_096)
def _tops(path: str) -> frozenset[str]:
    """The top-level keys that a path may be about."""
    return frozenset((path, path.partition(".")[0]))


@lru_cache(maxsize=256)
def _members(names: tuple[str, ...]) -> Any:
    """A Struct that is encoded as these members, without those that are NOTHING."""
    fields: Any = [(f"f{at}", Any, msgspec.field(name=name, default=NOTHING)) for at, name in enumerate(names)]
    return msgspec.defstruct("Members", fields, gc=False)

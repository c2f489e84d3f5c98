"""Typed fields of a config, `"_log_info.uid:int"`, and the rows that events become by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from pydantic import AfterValidator

from dpiped.behavior.columns import Coded, Ints, coded
from dpiped.behavior.rows import DAY_MS, LINE_BITS, Rows
from dpiped.view import PackView

Kind = Literal["string", "int"]
_KINDS: dict[str, Kind] = {"string": "string", "int": "int"}
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_MOST_TIME = (1 << 31) * DAY_MS
"""What the day of a key can hold: 5.8 million years."""
MOST_CHARACTERS = 1024
"""Of a uid, an action or a dimension; longer ones are none."""


class Field(NamedTuple):
    """Which field, and what its values are."""

    path: str
    kind: Kind


def parse_field(text: str) -> Field:
    """Raises ValueError."""
    path, colon, kind = text.rpartition(":")
    if not colon:
        return Field(text, "string")
    if kind not in _KINDS or not path:
        raise ValueError('expected a field with its type, such as "uid:int" or "uid:string"')
    return Field(path, _KINDS[kind])


def _check_field(text: str) -> str:
    if not parse_field(text).path:
        raise ValueError("expected the name of a field")
    return text


TypedField = Annotated[str, AfterValidator(_check_field)]
"""`path:int` or `path:string`; without a type it is string."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How events are read."""

    uid: Field
    action: Field
    dims: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """What is read of an event."""
        return (self.uid.path, self.action.path, *self.dims)

    def rows(self, view: PackView) -> tuple[Rows, Counter[str]]:
        """The rows of a pack, in its order, and how many events gave none, by reason."""
        uids, actions = view.column(self.uid.path), view.column(self.action.path)
        users: Sequence[Any] = _ints(uids) if self.uid.kind == "int" else _texts(uids)
        acts: Sequence[Any] = _texts(actions if self.action.kind == "string" else _as_text(_ints(actions)))
        times: Sequence[Any] = view.column("@timestamp")
        lines: Sequence[int] = view.lines
        columns: list[Sequence[Any]] = [_dims(view.column(name)) for name in self.dims]
        skipped: Counter[str] = Counter()
        reasons = _reasons(users, acts, times)
        if reasons:
            skipped.update(reasons.values())
            kept = [at for at in range(view.count) if at not in reasons]
            users, acts, times, lines = ([one[at] for at in kept] for one in (users, acts, times, lines))
            columns = [[one[at] for at in kept] for one in columns]
        whole = np.asarray(users, np.int64) if self.uid.kind == "int" else coded(users)
        return self._made(view, whole, acts, times, lines, columns), skipped

    def _made(
        self,
        view: PackView,
        users: Ints | Coded[str],
        actions: Sequence[str],
        times: Sequence[int],
        lines: Sequence[int],
        columns: Sequence[Sequence[str | None]],
    ) -> Rows:
        places = np.asarray(lines, np.int64) | view.head.offset << LINE_BITS
        dims = {name: coded(column) for name, column in zip(self.dims, columns, strict=True)}
        epochs = Coded([view.head.epoch] if len(actions) else [], np.zeros(len(actions), np.int64))
        return Rows(users, np.asarray(times, np.int64), coded(actions), epochs, places, dims)


def _reasons(users: Sequence[Any], actions: Sequence[Any], times: Sequence[int]) -> dict[int, str]:
    """Why events give no row, by index; one reason each."""
    reasons: dict[int, str] = {}
    if len(times) and not -_MOST_TIME <= min(times) <= max(times) < _MOST_TIME:
        reasons = {at: "bad_time" for at, time in enumerate(times) if not -_MOST_TIME <= time < _MOST_TIME}
    for column, reason in ((actions, "no_action"), (users, "no_uid")):
        if None in column:
            reasons |= {at: reason for at, value in enumerate(column) if value is None}
    return reasons


def _ints(column: Sequence[Any]) -> Sequence[int | None]:
    if set(map(type, column)) == {int} and min(column) >= _LEAST and max(column) <= _MOST:
        return column
    return [_int(value) for value in column]


def _int(value: Any) -> int | None:
    """A number of 64 bits, also from its decimal text."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) <= 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST
    return value if fits else None


def _as_text(column: Sequence[int | None]) -> list[str | None]:
    return [None if value is None else str(value) for value in column]


def _texts(column: Sequence[Any]) -> Sequence[str | None]:
    if set(map(type, column)) == {str} and "" not in column and len(max(column, key=len)) <= MOST_CHARACTERS:
        return column
    return [_text(value) for value in column]


def _text(value: Any) -> str | None:
    """A text that is not empty, or a whole number as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= MOST_CHARACTERS else None


def _dims(column: Sequence[Any]) -> Sequence[str | None]:
    plain = set(map(type, column)) <= {str, type(None)}
    if plain and max(map(len, filter(None, column)), default=0) <= MOST_CHARACTERS:
        return column
    return [_dim(value) for value in column]


def _dim(value: Any) -> str | None:
    """As text; numbers and booleans as JSON writes them; a list is none."""
    if isinstance(value, bool | int | float):
        value = msgspec.json.encode(value).decode()
    return value if isinstance(value, str) and len(value) <= MOST_CHARACTERS else None

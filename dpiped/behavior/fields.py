"""Typed fields of a config, `"_log_info.uid:int"`, and the rows that events become by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from dpiped.behavior.columns import Coded, Ints, coded
from dpiped.behavior.rows import DAY_MS, LINE_BITS, Rows
from dpiped.view import PackView

Kind = Literal["string", "int"]
_KINDS: dict[str, Kind] = {"string": "string", "int": "int"}
Flags = NDArray[np.bool_]
Convert = Callable[[Any], str | None]
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
        users, has_user = self._users(view)
        times, has_time = _ints(*view.typed("@timestamp"), -_MOST_TIME, _MOST_TIME - 1)
        acts = self._actions(view)
        has_action = _present(acts)
        columns = {name: _coded_once(*view.typed(name), _dim) for name in self.dims}
        lines = np.arange(view.count) if view.whole else np.asarray(view.lines, np.int64)
        places = lines | view.head.offset << LINE_BITS
        epochs = Coded([view.head.epoch], np.zeros(view.count, np.int64))
        rows = Rows(users, times, acts, epochs, places, columns)  # type: ignore[arg-type]
        good = has_user & has_action & has_time
        if good.all():
            return rows, Counter()
        skipped = {
            "no_uid": int((~has_user).sum()),
            "no_action": int((has_user & ~has_action).sum()),
            "bad_time": int((has_user & has_action & ~has_time).sum()),
        }
        return rows.take(good), Counter({reason: amount for reason, amount in skipped.items() if amount})

    def _users(self, view: PackView) -> tuple[Any, Flags]:
        """(users, which events have one); some text or number where there is none."""
        column, kinds = view.typed(self.uid.path)
        if self.uid.kind == "int":
            return _ints(column, kinds, _LEAST, _MOST)
        users = _coded_once(column, kinds, _text)
        return users, _present(users)

    def _actions(self, view: PackView) -> Coded[str | None]:
        column, kinds = view.typed(self.action.path)
        if self.action.kind == "int":
            column, kinds = [_int(value) for value in column], {int, type(None)}
        return _coded_once(column, kinds, _text)


def _ints(column: Sequence[Any], kinds: set[type], least: int, most: int) -> tuple[Ints, Flags]:
    """(numbers, which of them are some of `least` to `most`); 0 where there is none."""
    if kinds == {int}:
        try:
            values = np.fromiter(column, np.int64, len(column))
        except OverflowError:
            pass
        else:
            if least <= values.min() and values.max() <= most:
                return values, np.ones(len(values), bool)
    found = [_int(value) for value in column]
    good = [value is not None and least <= value <= most for value in found]
    return np.array([value if fits else 0 for value, fits in zip(found, good, strict=True)], np.int64), np.array(
        good, bool
    )


def _int(value: Any) -> int | None:
    """A number of 64 bits, also from its decimal text."""
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST
    return value if fits else None


def _coded_once(column: Sequence[Any], kinds: set[type], convert: Convert) -> Coded[str | None]:
    """Converts different values once each, where none is taken for another (1, 1.0 and true are one key)."""
    if not kinds <= {str, int, type(None)}:
        return coded(map(convert, column))
    found = coded(column)
    texts = [convert(value) for value in found.values]
    if texts == found.values:
        return found
    merged = coded(texts)
    return Coded(merged.values, merged.codes[found.codes])


def _present(column: Coded[str | None]) -> Flags:
    absent = column.values.index(None) if None in column.values else -1
    return np.not_equal(column.codes, absent)


def _text(value: Any) -> str | None:
    """A text that is not empty, or a whole number as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= MOST_CHARACTERS else None


def _dim(value: Any) -> str | None:
    """As text; numbers and booleans as JSON writes them; a list is none."""
    if isinstance(value, bool | int | float):
        value = msgspec.json.encode(value).decode()
    return value if isinstance(value, str) and len(value) <= MOST_CHARACTERS else None

"""Keys of a keyed store: a template that events fill, `{uid}/{@timestamp:int}`.

    {FIELD}       the value as text: texts as they are, numbers and booleans as JSON writes them
    {FIELD:int}   a whole number of 64 bits as 20 characters that sort as the numbers do: 0 for negative ones, else 1,
                  then 19 digits, of n, or of 10^19 + n where n is negative: 42 is 10000000000000000042
    {_id}         the name of the event, EPOCH-OFFSET-LINE: unique for ever, in the order of acceptance
    {_host} {_source} {_ident} {_project}   what is known of the pack

The rest stands as it is. An event that lacks a field has no key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from dpiped.aggregates.plain import whole
from dpiped.view import PackView

ID = "_id"
MAX_KEY_BYTES = 1024
_FIELD = re.compile(r"\{([^{}]*)\}")
_INT = ":int"
_WIDE = 10**19
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


def check_key(text: str) -> str:
    """Raises ValueError with what is wrong."""
    names = _FIELD.findall(text)
    rest = _FIELD.sub("", text)
    if "{" in rest or "}" in rest:
        raise ValueError("a brace is not closed")
    if not names:
        raise ValueError('expected a field in braces, such as "{uid}/{@timestamp:int}": else all events have one key')
    for name in names:
        if not name.removesuffix(_INT) or (name.startswith(ID + ":")):
            raise ValueError(
                "expected the name of a field between the braces, with `:int` behind it where it is a number"
            )
    return text


class Lacking(NamedTuple):
    """Why an event has no key."""

    reason: str


class KeyTemplate:
    """A checked template."""

    def __init__(self, text: str) -> None:
        pieces = _FIELD.split(check_key(text))
        self._literals = pieces[0::2]
        self._slots = [(name.removesuffix(_INT), name.endswith(_INT)) for name in pieces[1::2]]
        self.fields = tuple(dict.fromkeys(path for path, _ in self._slots if path != ID))
        """Fields that are read."""

    def of(self, view: PackView, names: Sequence[str]) -> list[bytes | Lacking]:
        """The key of each event, shape (view.count,); `names` are what `{_id}` is for each."""
        columns = [self._column(path, as_int, view, names) for path, as_int in self._slots]
        return [self._filled(values) for values in zip(*columns, strict=True)]

    def _column(self, path: str, as_int: bool, view: PackView, names: Sequence[str]) -> Sequence[str | Lacking]:
        if path == ID:
            return names
        if as_int:
            return [_ordered(path, value) for value in whole(*view.typed(path))]  # 7.0 is a whole number
        return [_text(path, value) for value in view.column(path)]

    def _filled(self, values: Sequence[str | Lacking]) -> bytes | Lacking:
        text = self._literals[0]
        for value, literal in zip(values, self._literals[1:], strict=True):
            if isinstance(value, Lacking):
                return value
            text += value + literal
        key = text.encode()
        if not key:
            return Lacking("the key is empty")
        if len(key) > MAX_KEY_BYTES:
            return Lacking(f"the key is longer than {MAX_KEY_BYTES} bytes")
        return key


def ordered_int(value: int) -> str:
    """20 characters that sort as the numbers do."""
    return f"1{value:019d}" if value >= 0 else f"0{_WIDE + value:019d}"


def int_of(text: str) -> int:
    """What `ordered_int` was given."""
    return int(text[1:]) if text[0] == "1" else int(text[1:]) - _WIDE


def _ordered(path: str, value: Any) -> str | Lacking:
    if isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST:
        return ordered_int(value)
    return Lacking(f"no field {path}" if value is None else f"field {path} is no whole number of 64 bits")


def _text(path: str, value: Any) -> str | Lacking:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list):
        return Lacking(f"no field {path}" if value is None else f"field {path} is a list")
    return msgspec.json.encode(value).decode()

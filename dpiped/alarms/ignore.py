"""`ignore`: events that are no reason for an alarm, known by what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import re2

from dpiped.expressions.patterns import compile_pattern
from dpiped.view import PackView

PATTERN = "regex:"
"""What an entry begins with that is a regular expression; all others are looked for as they are."""


def check_entry(text: str) -> str:
    """Raises ValueError if it cannot be looked for, or would be found in everything."""
    if text.startswith(PATTERN):
        if compile_pattern(text.removeprefix(PATTERN))("") is not None:
            raise ValueError("the pattern fits the empty text: it would ignore everything")
    elif not text:
        raise ValueError("expected a text, or regex: and a pattern; the empty text would ignore everything")
    return text


class Ignore:
    """Finds what is to be ignored in a field, or in the whole event as it stands in its line. Immutable."""

    def __init__(self, entries: Sequence[str], field: str) -> None:
        self._field = field
        self._texts = [text.encode() for text in entries if not text.startswith(PATTERN)]
        patterns = [text.removeprefix(PATTERN) for text in entries if text.startswith(PATTERN)]
        self._searches: list[Callable[[bytes], Any]] = [re2.compile(pattern).search for pattern in patterns]

    def wanted(self, view: PackView) -> list[bool]:
        """Which events are not ignored, shape (view.count,)."""
        if not self._field:
            return [not self._found(line) for line in view.body.splitlines()]
        column = view.column(self._field)
        known = {text: not self._found(text.encode("utf-8", "replace")) for text in set(_texts(column))}
        return [known[value] if isinstance(value, str) else True for value in column]

    def _found(self, data: bytes) -> bool:
        return any(text in data for text in self._texts) or any(search(data) for search in self._searches)


def _texts(column: Sequence[Any]) -> list[str]:
    return [value for value in column if isinstance(value, str)]

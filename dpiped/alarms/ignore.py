"""`ignore`: events that are no reason for an alarm, known by what is in them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from dpiped.alarms.slices import Effort
from dpiped.expressions.patterns import compile_pattern, compiled
from dpiped.plugin import PAUSE, PackDraft
from dpiped.view import PackView

PATTERN = "regex:"
"""What an entry begins with that is a regular expression; all others are looked for as they are."""
BYTES_AT_ONCE = 1_000_000
"""Searched before others may run, once for each entry: about 2.5 ms."""
BYTES_OF_CALL = 300
"""What a search costs however short the text is."""


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
        self._searches: list[Callable[[bytes], Any]] = [compiled(pattern).search for pattern in patterns]

    def wanted(self, view: PackView) -> Generator[PackDraft, None, list[bool]]:
        """Which events are not ignored, shape (view.count,); found out bit by bit."""
        column: Sequence[Any] = view.column(self._field) if self._field else view.body.splitlines()
        known: dict[str | bytes, bool] = {}
        effort, entries = Effort(BYTES_AT_ONCE), len(self._texts) + len(self._searches)
        for text in dict.fromkeys(value for value in column if isinstance(value, str | bytes)):
            known[text] = not self._found(text.encode("utf-8", "replace") if isinstance(text, str) else text)
            if effort.add((len(text) + BYTES_OF_CALL) * entries):
                yield PAUSE
        return [known[value] if isinstance(value, str | bytes) else True for value in column]

    def _found(self, data: bytes) -> bool:
        return any(text in data for text in self._texts) or any(search(data) for search in self._searches)

"""Answers: what aggregates say, as events; and those of the last closed windows, kept for questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from operator import add
from typing import TYPE_CHECKING, Any

import msgspec

from dpiped.aggregates.plain import shown
from dpiped.panes.shape import Answers, Key, Shape
from dpiped.panes.store import Change, answer_key, dump_answers

if TYPE_CHECKING:
    from dpiped.panes.config import Telling
    from dpiped.questions import Question

Span = tuple[int, int]
"""(start, end) of a window, milliseconds."""
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
MOST_ENDINGS = 1_000


class Writer:
    """Writes the answer of one group in one window."""

    def __init__(self, telling: Telling, shape: Shape, name: str) -> None:
        self._shape = shape
        self._name = name
        self._names = tuple(name for name, _ in shape.metrics)
        self._with_errors = telling.with_errors
        self._with_id = telling.with_id
        self._endings: dict[tuple[float, ...], bytes] = {}

    def event(self, span: Span, key: Key) -> dict[str, Any]:
        """All fields of an event beside its metrics."""
        start, end = span
        event: dict[str, Any] = {"@timestamp": end, "window_start": start, "window_end": end}
        return event | self.group(key)

    def group(self, key: Key) -> dict[str, Any]:
        """The fields of a group that have a value."""
        fields = self._shape.group_by
        if len(fields) == 1:
            return {} if key is None else {fields[0]: shown(key)}
        return {name: shown(value) for name, value in zip(fields, key, strict=True) if value is not None}

    def lines(
        self, span: Span, keys: Sequence[Key], answers: Sequence[Answers], *, early: bool
    ) -> tuple[list[bytes], list[bytes]]:
        """(the events to emit, the same with their error bounds), a line for each group.

        Args:
            keys, answers: of each group, shape (n_groups,).
        """
        events = [self._fields(span, key, found, early=early) for key, found in zip(keys, answers, strict=True)]
        head = _head(span)
        fronts = [head + text[1:-1] if text != b"{}" else head[:-1] for text in _encode_lines(events).split(b"\n")[:-1]]
        endings = [self._ending(tuple([error for _, error in found])) for found in answers]
        full = list(map(add, fronts, endings))
        return (full if self._with_errors else [front + b"}\n" for front in fronts]), full

    def _fields(self, span: Span, key: Key, answers: Answers, *, early: bool) -> dict[str, Any]:
        """What of a group's event is not the same for all groups of the window."""
        event = self.group(key)
        if self._with_id:
            event["window_id"] = self._id(span, key)
        for name, (answer, _) in zip(self._names, answers, strict=True):
            if answer is not None:
                event[name] = answer
        if early:
            event["_early"] = True
        return event

    def _ending(self, errors: tuple[float, ...]) -> bytes:
        """What ends a line: those error bounds that are not 0; mostly they are the same for all groups."""
        ending = self._endings.get(errors)
        if ending is None:
            if len(self._endings) >= MOST_ENDINGS:
                self._endings.clear()
            told = {name: error for name, error in zip(self._names, errors, strict=True) if error}
            ending = self._endings[errors] = b',"_errors":%b}\n' % _encode(told) if told else b"}\n"
        return ending

    def _id(self, span: Span, key: Key) -> str:
        text = f"{self._name}-{span[0]}-{span[1]}"
        if not self._shape.group_by:
            return text
        values = _encode([shown(value) for value in self._shape.values(key)])
        return f"{text}-{hashlib.blake2b(values, digest_size=8).hexdigest()}"

    @staticmethod
    def read(lines: bytes) -> Iterator[dict[str, Any]]:
        """The answers in lines."""
        return map(msgspec.json.decode, lines.splitlines())

    def is_of(self, answer: dict[str, Any], group: str) -> bool:
        """Whether an answer is of the group with these values, joined by commas; texts stand without quotes."""
        values = [answer.get(name) for name in self._shape.group_by]
        texts = [value if isinstance(value, str) else _encode(value).decode() for value in values]
        return ",".join(texts) == group


@lru_cache(maxsize=16)
def _head(span: Span) -> bytes:
    """How all lines of a window begin."""
    start, end = span
    return b'{"@timestamp":%d,"window_start":%d,"window_end":%d,' % (end, start, end)


class Kept:
    """The answers of the last closed windows, with error bounds, in parts of so many lines as were emitted at once."""

    def __init__(self, windows: int) -> None:
        self._most = windows
        self._parts: dict[tuple[int, int], list[bytes]] = {}
        """(end, start) -> lines; in order of their ends."""
        self._unsaved: dict[bytes, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, span: Span, lines: bytes) -> None:
        """Some of the answers of a window that was closed; the oldest window goes when there are too many."""
        if not self._most:
            return
        start, end = span
        parts = self._parts.setdefault((end, start), [])
        self._unsaved[answer_key(end, len(parts))] = dump_answers(start, lines)
        parts.append(lines)
        while len(self._parts) > self._most:
            self._drop(next(iter(self._parts)))

    def clear(self) -> None:
        """Forgets all."""
        for window in list(self._parts):
            self._drop(window)

    def _drop(self, window: tuple[int, int]) -> None:
        for part in range(len(self._parts.pop(window))):
            self._unsaved[answer_key(window[0], part)] = None

    def load(self, parts: Iterable[tuple[int, int, bytes]]) -> None:
        """What `changes` gave."""
        for start, end, lines in parts:
            self._parts.setdefault((end, start), []).append(lines)

    def changes(self) -> Iterator[Change]:
        """What changed since the last call."""
        while self._unsaved:
            yield self._unsaved.popitem()

    def answers(self, question: Question) -> Iterator[dict[str, Any]]:
        """Of all windows that are kept, or only of the last one."""
        windows = list(self._parts)
        for end, start in windows[-1:] if question.window == "last" else windows:
            if question.wants(start, end):
                for lines in self._parts[end, start]:
                    yield from Writer.read(lines)

"""Answers: what aggregates say, as events; and those of the last closed windows, kept for questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dpiped.aggregates import Aggregate
from dpiped.aggregates.plain import shown
from dpiped.panes.shape import Key, Shape
from dpiped.panes.store import Change, answer_key, dump_answers

if TYPE_CHECKING:
    from dpiped.panes.config import WindowConfig

_encode = msgspec.json.Encoder().encode


class Writer:
    """Writes the answer of one group in one window."""

    def __init__(self, config: WindowConfig, shape: Shape, name: str) -> None:
        self._shape = shape
        self._name = name
        self._names = tuple(name for name, _ in shape.metrics)
        self._with_errors = config.errors
        self._with_id = config.id == "window"

    def event(self, span: tuple[int, int], key: Key) -> dict[str, Any]:
        """The fields beside metrics."""
        start, end = span
        event: dict[str, Any] = {"@timestamp": end, "window_start": start, "window_end": end}
        for name, value in zip(self._shape.group_by, self._shape.values(key), strict=True):
            if value is not None:
                event[name] = shown(value)
        return event

    def lines(
        self, span: tuple[int, int], key: Key, aggregates: Sequence[Aggregate], early_ms: int | None = None
    ) -> tuple[bytes, bytes]:
        """(the event to emit, the same with its error bounds), each one line. `early_ms`: how far time has come, for
        early results.
        """
        start, end = span
        event = self.event(span, key)
        if self._with_id:
            event["window_id"] = self._id(span, key)
        secs = (end if early_ms is None else min(max(early_ms, start + 1_000), end)) - start
        errors = {}
        for name, aggregate in zip(self._names, aggregates, strict=True):
            answer = aggregate.result(secs / 1000)
            if answer is not None:
                event[name] = answer
            if error := aggregate.error:
                errors[name] = error
        if early_ms is not None:
            event["_early"] = True
        line = _encode(event)
        full = line[:-1] + b',"_errors":' + _encode(errors) + b"}\n" if errors else line + b"\n"
        return (full if self._with_errors or not errors else line + b"\n"), full

    def _id(self, span: tuple[int, int], key: Key) -> str:
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


class Kept:
    """The answers of the last closed windows, with error bounds, in parts of so many lines as were emitted at once."""

    def __init__(self, windows: int) -> None:
        self._most = windows
        self._parts: dict[tuple[int, int], list[bytes]] = {}
        """(end, start) -> lines; in order of their ends."""
        self._unsaved: dict[bytes, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, span: tuple[int, int], lines: bytes) -> None:
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

    def answers(self, *, last: bool) -> Iterator[dict[str, Any]]:
        """Of all windows that are kept, or only of the last one."""
        windows = list(self._parts)
        for window in windows[-1:] if last else windows:
            for lines in self._parts[window]:
                yield from Writer.read(lines)

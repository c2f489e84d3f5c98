"""From the bytes of a range of a file to the data of a chunk: a pure function, so that a range read again gives the
same.

Three things may differ from the file: lines longer than `max_line_bytes` are cut, a missing last newline is added, and
with `multiline` the lines of one event become one JSON object `{"message": ".."}`, as codec `raw` would make it of one
line.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    import re

MULTILINE_CODEC = "json"


class Shaped(NamedTuple):
    """Data of a chunk and the codec to read it by (empty: the configured one)."""

    data: bytes
    codec: str


class Shaper:
    """Holds the options that shape data.

    Args:
        multiline_start: pattern (RE2) that the first line of an event matches somewhere; None: each line is an event.
        counts: where to count.
    """

    def __init__(
        self, max_line_bytes: int, multiline_start: str | None = None, counts: Counter[str] | None = None
    ) -> None:
        self.max_line_bytes = max_line_bytes
        self._start: re.Pattern[bytes] | None = None
        if multiline_start is not None:
            self._start = compile_start(multiline_start)
        self.counts: Counter[str] = Counter() if counts is None else counts
        """Where cut lines are counted, as "line_cut"."""

    @property
    def multiline(self) -> bool:
        return self._start is not None

    def shape(self, raw: bytes) -> Shaped:
        """The data of a range that begins at the start of a line."""
        if not raw:
            return Shaped(b"", "")
        if not raw.endswith(b"\n"):
            raw += b"\n"
        if self._start is not None:
            return Shaped(self._join(raw), MULTILINE_CODEC)
        return Shaped(self._cut_long(raw), "")

    def last_start(self, lines: bytes) -> int:
        """Where the last event begins in whole lines; 0 if the first line begins it or there is no other start."""
        assert self._start is not None
        at = len(lines)
        while at > 0:
            begin = lines.rfind(b"\n", 0, at - 1) + 1
            if self._start.search(lines[begin:at]):
                return begin
            at = begin
        return 0

    def _cut_long(self, raw: bytes) -> bytes:
        """Hops from newline to newline as far as allowed: a step for each `max_line_bytes`, not for each line."""
        most, at, pieces, begin = self.max_line_bytes, 0, [], 0
        while len(raw) - at > most + 1:
            newline = raw.rfind(b"\n", at, at + most + 1)
            if newline >= 0:
                at = newline + 1
                continue
            pieces.append(raw[begin : at + most] + b"\n")
            self.counts["line_cut"] += 1
            at = begin = raw.index(b"\n", at + most) + 1
        return raw if not pieces else b"".join([*pieces, raw[begin:]])

    def _join(self, raw: bytes) -> bytes:
        assert self._start is not None
        events: list[list[bytes]] = []
        for line in raw[:-1].split(b"\n"):
            line = line[:-1] if line.endswith(b"\r") else line
            if not events or self._start.search(line):
                events.append([line])
            else:
                events[-1].append(line)
        return b"".join(map(self._event, events))

    def _event(self, lines: list[bytes]) -> bytes:
        text = b"\n".join(lines)
        if len(text) > self.max_line_bytes:
            text = text[: self.max_line_bytes]
            self.counts["line_cut"] += 1
        return msgspec.json.encode({"message": text.decode(errors="replace")}) + b"\n" if text.strip() else b""


def compile_start(pattern: str) -> re.Pattern[bytes]:
    """A pattern of a config, in linear time. Raises ValueError when RE2 does not take it."""
    import re2  # here, because a collector without multiline does without its 2 MB

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes that are no UTF-8 must not make a match impossible
    options.log_errors = False
    try:
        compiled: re.Pattern[bytes] = re2.compile(pattern.encode(), options)
    except re2.error as exc:
        raise ValueError(f"pattern {pattern!r} cannot be used: {exc}") from exc
    return compiled

"""Which dead letters a command means, and how they are shown. Admin API and commands share it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from dpiped.deadletter import DeadLetters, Letter
from dpiped.errors import DpipeError, WrongArgumentError
from dpiped.journal.bound import parse_bound
from dpiped.matcher import parsed

SHOWN_BYTES = 4 << 20
"""What one answer shows of the bytes of letters; the rest is asked for anew."""
SHOWN_OF_EACH = 16 << 10
"""What a list shows of the bytes of one letter."""
FILTERS = ("plugin", "ident", "project", "since", "text")


class Selection(msgspec.Struct, forbid_unknown_fields=True):
    """Letters that fit all that is said; nothing said means none, `all` means all."""

    causes: list[str] = []
    plugin: str = ""
    ident: str = ""
    """A pattern, as in `match`."""
    project: str = ""
    since: str = ""
    """Refused at or after this time: RFC 3339, or how long ago."""
    text: str = ""
    """Part of the reason."""
    all: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.all or self.causes or any(getattr(self, name) for name in FILTERS))

    def find(self, letters: DeadLetters, now_ms: int) -> Iterable[Letter]:
        """Oldest first; blocking. Raises PatternError or BoundError."""
        pattern = parsed(self.ident) if self.ident else None
        since = self._since_ms(now_ms)
        for letter in letters.read(self.causes) if self.causes else letters.scan():
            if (
                (not self.plugin or letter.plugin == self.plugin)
                and (not self.project or letter.project == self.project)
                and letter.at_ms >= since
                and self.text in letter.reason
                and (pattern is None or pattern.matches(letter.project, letter.ident))
            ):
                yield letter

    def _since_ms(self, now_ms: int) -> int:
        if not self.since:
            return 0
        bound = parse_bound(self.since, now_ms)
        if bound.ms is None:
            raise WrongArgumentError(f'since "{self.since}": expected a time such as 2026-03-01T12:00:00Z, or -2h')
        return bound.ms


def selection_of(fields: Mapping[str, Any]) -> Selection:
    """Of a query or a JSON object. Raises DpipeError."""
    try:
        return msgspec.convert(dict(fields), Selection)
    except msgspec.ValidationError as exc:
        raise DpipeError(str(exc)) from exc


def listing(letters: DeadLetters, chosen: Selection, now_ms: int, limit: int) -> dict[str, Any]:
    """The answer to a question for letters; blocking. One that names causes shows them whole."""
    shown: list[dict[str, Any]] = []
    size, more = 0, False
    for letter in islice(chosen.find(letters, now_ms), limit + 1):
        if len(shown) == limit or size >= SHOWN_BYTES:
            more = True
            break
        shown.append(show(letter, None if chosen.causes else SHOWN_OF_EACH))
        size += min(len(letter.raw), SHOWN_OF_EACH)
    return {"letters": shown, "more": more, "count": letters.count, "bytes": letters.bytes}


def show(letter: Letter, most_bytes: int | None) -> dict[str, Any]:
    """As JSON can hold it: `raw` is text; bytes that are none stand in `raw_base64`."""
    fields = {name: getattr(letter, name) for name in letter.__struct_fields__ if name != "raw"}
    raw = letter.raw if most_bytes is None else letter.raw[:most_bytes]
    if len(raw) < len(letter.raw):
        return {**fields, "raw": raw.decode("utf-8", "replace"), "raw_bytes": len(letter.raw)}
    try:
        return {**fields, "raw": raw.decode()}
    except UnicodeDecodeError:
        return {**fields, "raw": raw.decode("utf-8", "replace"), "raw_base64": base64.b64encode(raw).decode()}

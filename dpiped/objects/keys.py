"""Where the events of a batch go: one object for each partition, named for ever.

    logs/{project}/{ident}/dt=%Y-%m-%d/hour=%H   ->   logs/shop/web/dt=2026-03-01/hour=14/EPOCH-FIRST-LAST.ndjson.gz
    prefix, a path template                           partition                            name of the batch, ending

The name is that of the stable batch, the same in all its partitions: after a crash the same batch gives the same keys.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dpiped.batch import Batch
from dpiped.objects.pieces import Piece, Source
from dpiped.projection import TIMESTAMP
from dpiped.templates import PathTemplate, check_path_template
from dpiped.view import PackView

MAX_KEY_BYTES = 1024
_NAME_ROOM = 100
"""What the name of the object takes of it, at most."""
_LITERAL = re.compile(r"[A-Za-z0-9!_.*'()=+@,;:&$/-]*")
_IN_BRACES = re.compile(r"\{[^{}]*\}")
_CODE = re.compile(r"%.")


def check_prefix(text: str) -> str:
    """Raises ValueError with what is wrong."""
    if text:
        check_path_template(text)
    if text.startswith("/") or text.endswith("/") or "//" in text:
        raise ValueError("expected no slash at the begin or the end, and no two of them together")
    if any(part == "." for part in text.split("/")):
        raise ValueError("`.` is not allowed as a part of a key")
    if not _LITERAL.fullmatch(_CODE.sub("", _IN_BRACES.sub("", text))):
        raise ValueError("expected letters, digits and !_.*'()=+@,;:&$- between slashes; other signs harm keys")
    if len(text) > MAX_KEY_BYTES - _NAME_ROOM - 600:  # three fields may become 200 long each
        raise ValueError("it is too long: a key has at most 1024 bytes")
    return text


def pattern_of(prefix: str) -> str:
    """What all folders of a prefix look like: `logs/*/dt=*`. Two outputs with equal ones could take the objects of each
    other for their own.
    """
    return re.sub(r"[*-]*\*[*-]*", "*", _CODE.sub("*", _IN_BRACES.sub("*", prefix)))


@dataclass(slots=True)
class Partition:
    """The events of a batch that one object gets, in journal order."""

    folder: str
    pieces: list[Piece] = field(default_factory=list)

    @property
    def count(self) -> int:
        """So many events."""
        return sum(piece.count for piece in self.pieces)


class Partitions:
    """Parts a batch by what the prefix says of each event."""

    def __init__(self, prefix: str, time: Literal["event", "accepted"]) -> None:
        self._template = PathTemplate(prefix) if prefix else None
        self._by_event = time == "event"

    def of(self, batch: Batch) -> Sequence[Partition]:
        """The partitions of a batch, sorted. A pack whose events all go to one is never looked into."""
        found: dict[str, Partition] = {}
        for view in batch.views:
            for folder, mine in self._parted(view):
                found.setdefault(folder, Partition(folder)).pieces.append(mine)
        return [found[folder] for folder in sorted(found)]

    def _parted(self, view: PackView) -> Iterable[tuple[str, Piece]]:
        head, template, source = view.head, self._template, Source(view)
        if template is None:
            return [("", Piece(source))]
        if not self._by_event or not template.has_time:
            return [(template.render(head, head.accepted_ms), Piece(source))]
        first, last = (template.render(head, at) for at in view.span)
        if first == last and template.is_monotonic:
            return [(first, Piece(source))]
        places: dict[str, array[int]] = {}
        for place, at in enumerate(view.column(TIMESTAMP)):
            places.setdefault(template.render(head, at), array("I")).append(place)  # type: ignore[arg-type]
        return ((folder, Piece(source, mine)) for folder, mine in places.items())


def key_of(folder: str, name: str) -> str:
    """The key of an object in a partition."""
    return f"{folder}/{name}" if folder else name

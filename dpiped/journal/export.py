"""Events out of the segments, as outputs would have written them: one JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dpiped.journal.bound import Bound
from dpiped.journal.inspect import frames
from dpiped.matcher import OWN_PREFIX, Pattern
from dpiped.pack import Head, Pack
from dpiped.projection import HOST, SOURCE
from dpiped.view import with_fields


class Selection:
    """Which packs. Without patterns all but the daemon's own, those of filters too. Raises PatternError."""

    def __init__(
        self, idents: Sequence[str] = (), project: str = "", start: Bound | None = None, end: Bound | None = None
    ) -> None:
        self._patterns = [Pattern(text) for text in idents]
        self._project = project
        self.start = start
        self.end = end

    def takes(self, head: Head) -> bool:
        """Whether the pack has events and is one of those."""
        if not head.count or (self._project and head.project != self._project):
            return False
        if (self.start and not self.start.reached_by(head)) or (self.end and self.end.reached_by(head)):
            return False
        if self._patterns:
            return any(pattern.matches(head.project, head.ident) for pattern in self._patterns)
        return head.ident.partition(".")[0] != OWN_PREFIX


@dataclass
class Exported:
    """What was written, and what could not be."""

    packs: int = 0
    events: int = 0
    damage: list[str] = field(default_factory=list)


def export(data_dir: Path, chosen: Selection, file: BinaryIO, *, metadata: bool) -> Exported:
    """Writes the bodies in order; with `metadata` the events carry `_host` and `_source`."""
    done = Exported()
    pack = Pack()
    for frame in frames(data_dir, chosen.takes, done.damage.append, chosen.start, chosen.end):
        pack.fill(frame.head, frame.body, None)
        body = pack.body
        if metadata:
            body = with_fields(body, {HOST: frame.head.host, SOURCE: frame.head.source})
        file.write(body)
        done.packs += 1
        done.events += frame.head.count
    return done

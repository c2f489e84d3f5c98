"""The storage under the journal: what `memory` and `disk` have in common.

All methods block and are called in threads, `append` and `cut` only by the one writer. Everything the storage knows is
offsets, heads and bytes; whose they are is the caller's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from dpiped.batch import PROJECT_MARK, stream_of_project
from dpiped.journal.record import Frame, Marks
from dpiped.pack import Head, Route

Wanted = Callable[[Route, int, int], bool]
"""(route, first offset, last offset) -> whether somebody wants a pack of this route in this closed range."""


class Recovered(NamedTuple):
    """What was found at open."""

    marks: Marks
    """Those of the last segment, with everything that heads after them tell."""
    lost: int
    """Packs that were there and are not any more, as far as offsets tell it."""
    damage: Sequence[str]
    """A line for each damaged place. What a place costs is in `lost` or `unread`."""
    unread: Sequence[int] = ()
    """Of what is lost behind all that tells its offset, the first offset that it can have had: one for each pack that
    is known of, and each file of which nothing can be read.
    """


class Backlog(NamedTuple):
    """What a runner has not read of one stretch of the journal."""

    first: int
    """Offset where it begins."""
    size: int
    events: int


class Storage(ABC):
    """An append-only sequence of frames with rising offsets."""

    durable: ClassVar[bool]
    """Whether what was appended is there after a crash."""
    next: int = 0
    """The next offset."""
    used_bytes: int = 0
    idle_bytes: int = 0
    """Of these, what nobody wants but has to stay: the last segment with packs. It does not count for the budget."""
    on_damage: Callable[[str], None] = staticmethod(lambda text: None)
    """Told once of each stored pack that turns out to be damaged when it is read; in any thread."""

    on_free: Callable[[int], None] = staticmethod(lambda end: None)
    """Told before everything below an offset is given back for ever; in a thread, may block. When it raises, nothing is
    given back."""

    @abstractmethod
    def open(self) -> Recovered:
        """Makes the storage ready, repairing what a crash left."""

    @abstractmethod
    def append(self, frames: Sequence[Frame], marks: Callable[[], Marks]) -> None:
        """Writes one group and makes it durable; `marks` is asked when a new segment begins. On OSError call `cut`."""

    @abstractmethod
    def cut(self) -> None:
        """Takes back what a failed `append` left, durably. On OSError call it again."""

    @abstractmethod
    def first(self) -> int:
        """The oldest offset that is still there; `next` when empty."""

    def begin(self) -> int:
        """The oldest offset of which anything is known: that it is there, or that it was dropped; `next` when empty."""
        return self.first()

    @abstractmethod
    def read(self, offset: int, wanted: Callable[[Route], bool], most_bytes: int) -> tuple[list[Frame], int]:
        """Wanted frames from `offset` on, in order, at least one if there is any; and the offset to go on from."""

    @abstractmethod
    def free(self, wanted: Wanted, below: int) -> int:
        """Gives back room of packs below `below` that nobody wants; the bytes that became free."""

    @abstractmethod
    def gone(self, offset: int) -> int:
        """How many offsets from `offset` on are not there any more, for whatever reason."""

    @abstractmethod
    def backlog(self, offset: int, wanted: Callable[[Route], bool]) -> list[Backlog]:
        """What is wanted from `offset` on, stretch by stretch, oldest first; a stretch counts whole."""

    @abstractmethod
    def kept_from(self, since_ms: int, most_bytes: int) -> int:
        """Offset from which packs stay for replays: accepted since then, or among the newest `most_bytes`."""

    @abstractmethod
    def free_disk_bytes(self) -> int | None:
        """Room left on the disk; None if that does not matter."""

    @property
    def in_place(self) -> bool:
        """Whether what is stored stands where a restart looks for it: nobody removed or moved the folder."""
        return True

    @abstractmethod
    def close(self) -> None:
        """Closes all files."""


def learn(marks: Marks, head: Head) -> None:
    """Adds what one head tells to the marks."""
    if head.stream:
        marks.streams[head.stream] = (head.seq, head.nonce, head.accepted_ms)
    if head.position is not None:
        marks.positions[head.position[0]] = head.position[1]
    if head.cause is not None:
        name, offset = head.cause
        marks.emitted[name] = max(marks.emitted.get(name, -1), offset)


def older_mark(head: Head) -> dict[str, tuple[int, str, int]]:
    """The mark of this head's stream under the name that it has if a header named it; empty if it has that name, or no
    header can have named it.
    """
    if not head.stream or not head.project or PROJECT_MARK in head.stream:
        return {}
    return {stream_of_project(head.stream, head.project): (head.seq, head.nonce, head.accepted_ms)}

"""Batch: what an output gets in one call of `write`. BatchId: what a sender calls the batch it sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dpiped.view import PackView


class BatchId(NamedTuple):
    """`X-Dpipe-Batch: STREAM/SEQ/NONCE`; the nonce is empty when the sender gives none."""

    stream: str
    seq: int
    nonce: str = ""


PROJECT_MARK = "/"
"""Stands in no stream that a sender can name."""


def stream_of_project(stream: str, project: str) -> str:
    """What the journal calls a stream that is named by header: another project's of the same name is another stream.

    Streams of frames are random and carry packs of any project, so they keep their names.
    """
    return f"{stream}{PROJECT_MARK}{project}"


class Batch:
    """Some packs in journal order, as the runner of one output wants them. The same batch comes again after
    TemporaryError.
    """

    __slots__ = ("_bodies", "_names", "count", "generation", "metadata", "name", "views")

    def __init__(
        self,
        views: Sequence[PackView],
        metadata: bool = True,
        name: str = "",
        generation: int = 1,
        metadata_names: Mapping[str, str] | None = None,
    ) -> None:
        self.generation = generation
        """Of the runner; grows with each replay that an operator asked for."""
        self.name = name
        """Of stable batches: EPOCH-FIRST-LAST, in a replay with `.GENERATION` behind it; the same after a crash, also
        when some of its packs are gone."""
        self.views = views
        self.metadata = metadata
        self._names = metadata_names
        self.count = sum(view.count for view in views)
        self._bodies: list[bytes] | None = None

    @property
    def bodies(self) -> list[bytes]:
        """One body for each view, with metadata if the output's config wants it; shape (n_views,)."""
        if self._bodies is None:
            self._bodies = [view.body_with_metadata(self._names) if self.metadata else view.body for view in self.views]
        return self._bodies

    @property
    def body(self) -> bytes:
        """All events, one a line; `count` lines."""
        return self.bodies[0] if len(self.bodies) == 1 else b"".join(self.bodies)

    def names(self) -> Iterator[str]:
        """EPOCH-OFFSET-LINE of each event, in order; unique for ever, and they sort as they were accepted. In a replay
        `.GENERATION` is added, or the store would take them for repeats."""
        ending = generation_ending(self.generation)
        for view in self.views:
            head = view.head
            prefix = f"{head.epoch}-{head.offset:012x}-"
            for line in view.lines:
                yield f"{prefix}{line:04x}{ending}"


def generation_ending(generation: int) -> str:
    """What a derived name ends with; the first generation adds nothing."""
    return f".{generation}" if generation > 1 else ""

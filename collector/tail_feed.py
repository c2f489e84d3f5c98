"""TailFeed: files. Needs no spool, for what was not acknowledged can be read again."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import msgspec

from collector.checkpoint import Checkpoint, Range
from collector.config import TailInput
from collector.feed import Feed, Put
from collector.item import Item, pack
from collector.naming import ident_of
from dpiped.sources.noted import PACKED, UNMATCHED
from dpiped.sources.tail import Follower
from dpiped.sources.tail_marks import Chunk, Positions, shown_path
from dpiped.sources.threads import finish_in_thread

POLL_SECS = 0.2
P = ParamSpec("P")
T = TypeVar("T")


class TailFeed(Feed):
    """The follower reads and compresses in a thread; a mark moves in the checkpoint when its chunk is settled."""

    def __init__(self, config: TailInput, checkpoint: Checkpoint, host: str, step_bytes: int) -> None:
        super().__init__(config.name, checkpoint)
        self.config = config
        self.host = config.host or host
        self._step_bytes = step_bytes
        self._follower = Follower(config.follow_options(checksums=True))
        self._settled = Positions()
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        text = self.checkpoint.inputs.get(self.name)
        if text is None and self.checkpoint.lost:
            text = Positions().text()  # no first start: `read_from = "end"` would leave out what nobody has
        self._settled = Positions.parse(text) if text is not None else Positions()
        start = Positions(self._settled.files.values(), self._settled.next_id) if text is not None else None
        if start is not None:
            for stream in self.checkpoint.streams:
                for what in stream.batch.ranges if stream.batch else ():
                    if what.input == self.name and what.mark is not None:
                        start.apply(_chunk(what))
        for chunk in await asyncio.to_thread(self._follower.start, start):
            self._settled.apply(chunk)
        # From now on it is no first start, whatever happens: `read_from = "end"` counts once.
        self.checkpoint.providers[self.name] = self._settled.text

    async def run(self, put: Put) -> None:
        while not self._follower.done:
            items = await self._in_thread(self._step)
            for item in items:
                assert item.range.mark is not None
                self.bytes += item.raw_bytes
                await put(item.range.mark.id, item)
            if not items and not self._follower.done:
                await asyncio.sleep(POLL_SECS)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The follower is used by one call at a time."""
        async with self._turn:
            return await finish_in_thread(function, *args, **kwargs)

    def _step(self) -> list[Item]:
        return [self._item(chunk) for chunk in self._follower.step(self._step_bytes)]

    def _item(self, chunk: Chunk) -> Item:
        what = Range(
            self.name,
            self.config.project,
            ident_of(self.config.ident, chunk.path),
            chunk.path,
            chunk.codec or self.config.codec,
            chunk.start,
            chunk.end,
            chunk.crc,
            chunk.mark,
            chunk.gone,
        )
        return pack(self, what, self.host, chunk.data)

    async def again(self, what: Range) -> Item | None:
        assert what.mark is not None
        raw = await self._in_thread(self._follower.read_again, what.mark, what.start, what.end, what.crc)
        if raw is None:
            return None
        return pack(self, what, self.host, self._follower.shape(raw))

    async def halve(self, item: Item) -> tuple[Item, Item] | None:
        what = item.range
        assert what.mark is not None
        halves = await self._in_thread(self._follower.halve, what.mark, what.source, what.start, what.end, what.crc)
        if halves is None:
            return None
        first, second = (self._item(half) for half in halves)
        gone = msgspec.structs.replace(second.range, gone=what.gone)
        return first, dataclasses.replace(second, range=gone)

    def settle(self, item: Item) -> None:
        self._settled.apply(_chunk(item.range))

    async def close(self) -> None:
        self._follower.close()

    def status(self) -> dict[str, object]:
        files = [
            {"path": shown_path(mark.path), "offset": mark.offset}
            for mark in itertools.islice(self._settled.files.values(), 1_000)
        ]
        return {
            "files": len(self._follower),
            "open_files": self._follower.open_files,
            "unmatched": list(self._follower.unmatched),
            "settled": files,
        }

    def counts(self) -> dict[str, int]:
        return dict(self._follower.counts)

    def found(self) -> dict[str, Sequence[str]]:
        return {UNMATCHED: self._follower.unmatched, PACKED: self._follower.packed}


def _chunk(what: Range) -> Chunk:
    """The chunk of a range, without its data."""
    assert what.mark is not None
    return Chunk(what.mark, what.source, what.start, what.end, what.crc, b"", what.codec, what.gone)

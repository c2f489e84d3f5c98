"""Marker: what an output has delivered, written in the same transaction as the events.

It is the value of a message whose key is the runner with its generation, in a compacted topic. Version 1, as JSON:
{"version": 1, "ends": {EPOCH: OFFSET}, "refused": {"EPOCH-OFFSET": {LINE: REASON}}}. A pack is delivered when its epoch
is in `ends` with its offset or a higher one; so a journal that begins anew, with offsets from 0 on, has an epoch of
which nothing is known. `refused` are the events of the last transaction that Kafka does not take: they go to the dead
letter after it, and must do so also when the daemon was killed between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from dpiped.errors import DpipeError
from dpiped.pack import Head

MOST_EPOCHS = 100
"""The ones that were written to last are remembered; each start of the daemon is one."""


class _Stored(msgspec.Struct):
    version: int = 1
    ends: dict[str, int] = {}
    refused: dict[str, dict[int, str]] = {}


class Marker:
    """Immutable."""

    def __init__(self, text: bytes | None = None) -> None:
        """Raises DpipeError when `text` is no marker of ours."""
        self._stored = _Stored()
        if text is None:
            return
        try:
            self._stored = msgspec.json.decode(text, type=_Stored)
        except msgspec.MsgspecError as exc:
            raise DpipeError(f"the marker of what was delivered cannot be read: {exc}") from exc
        if self._stored.version != 1:
            raise DpipeError(f"the marker of what was delivered has version {self._stored.version}: of a newer dpipe")

    def has(self, head: Head) -> bool:
        """Whether the pack was delivered."""
        return head.offset <= self._stored.ends.get(head.epoch, -1)

    def refused(self, head: Head) -> Mapping[int, str]:
        """Line in the stored body -> reason, of a pack of the last transaction."""
        return self._stored.refused.get(f"{head.epoch}-{head.offset}", {})

    def after(self, packs: Iterable[tuple[Head, Mapping[int, str]]]) -> Marker:
        """With these packs and what was refused of each, in journal order."""
        ends, refused = dict(self._stored.ends), {}
        for head, lines in packs:
            ends.pop(head.epoch, None)  # to the end: the one that was written to last
            ends[head.epoch] = head.offset
            if lines:
                refused[f"{head.epoch}-{head.offset}"] = dict(lines)
        while len(ends) > MOST_EPOCHS:
            del ends[next(iter(ends))]
        new = Marker()
        new._stored = _Stored(1, ends, refused)
        return new

    def text(self) -> bytes:
        """Reading it back gives the same."""
        return msgspec.json.encode(self._stored)

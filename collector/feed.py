"""Feed: an input as the lanes see it. It puts items, settles them when they are acknowledged, makes them again after a
crash.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence

from collector.checkpoint import Checkpoint, Range
from collector.item import Item

Put = Callable[[int, Item], Awaitable[None]]
"""Hands an item over; the number chooses the lane (equal numbers, equal lane). Waits while the lane is full."""


class Feed(ABC):
    """One input. All methods are called on the event loop."""

    def __init__(self, name: str, checkpoint: Checkpoint) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.bytes = 0
        """Bytes of lines read since the start."""

    @abstractmethod
    async def open(self) -> None:
        """Takes up what the checkpoint says. After it `again` works; before `run`."""

    @abstractmethod
    async def run(self, put: Put) -> None:
        """Reads until cancelled; returns when the input has ended for good."""

    @abstractmethod
    async def again(self, what: Range) -> Item | None:
        """The item of a saved range; None when its bytes are not to be had any more."""

    async def halve(self, item: Item) -> tuple[Item, Item] | None:
        """Two items instead of one that is too large for the daemon; None when it cannot be halved."""
        return None

    @abstractmethod
    def settle(self, item: Item) -> None:
        """The item is acknowledged, refused for good or given up: it is never needed again. In the order of `put` in a
        lane.
        """

    @abstractmethod
    async def close(self) -> None:
        """Releases everything; called once, also after a failure of `open`."""

    async def drain(self, put: Put) -> None:
        """At a stop, after `run` was cancelled: hands over what exists nowhere else."""
        return

    async def tend(self) -> None:
        """Called about every second: housekeeping."""
        return

    def status(self) -> dict[str, object]:
        """For /status."""
        return {}

    def counts(self) -> dict[str, int]:
        """What happened, by reason, since the start: what was given up, cut or skipped."""
        return {}

    def found(self) -> Mapping[str, Sequence[str]]:
        """What is worth telling once while it is so: text -> patterns or files of which it is true."""
        return {}

"""What plugins may be asked while they run. Nothing they say changes them; filters answer between two packs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from dpiped.behavior.table import BehaviorTable
    from dpiped.plugin import PackDraft

Which = Literal["current", "last", "all"]
"""Of the windows of a filter: the one that holds the newest event, the last closed one, or all that are known."""


class Question(msgspec.Struct, frozen=True):
    """Which answers are wanted."""

    window: Which = "all"
    group: str | None = None
    """Only of the group with these values, joined by commas."""
    from_ms: int | None = None
    """Only of windows that end after it."""
    to_ms: int | None = None
    """Only of windows that begin before it."""

    def wants(self, start_ms: int, end_ms: int) -> bool:
        """Whether the window reaches into the time that is asked about."""
        return (self.from_ms is None or end_ms > self.from_ms) and (self.to_ms is None or start_ms < self.to_ms)


@runtime_checkable
class Answering(Protocol):
    """A filter that holds answers over windows."""

    def about(self) -> dict[str, Any]:
        """What it answers: windows, groups and metrics, as plain data."""

    def answers(self, question: Question = ...) -> Iterator[dict[str, Any] | PackDraft]:
        """One for each group and window, oldest window first, with the error bounds in `_errors`; what is not named
        there is exact. Those of open windows are marked by `_early`. Made bit by bit, while they are asked for; PAUSE
        among them where a group is asked for.
        """


@runtime_checkable
class Alarming(Protocol):
    """A filter that keeps the states of alarms, and takes control packs about them."""

    def alarms(self, state: str | None = None, most: int | None = None) -> Iterator[dict[str, Any] | PackDraft]:
        """The alarms that are known, worst first; `state`: only those in it, `most`: no more than so many. Made bit by
        bit, while they are asked for; PAUSE among them.
        """

    def knows(self, fingerprint: str) -> bool:
        """Whether there is such an alarm."""


@runtime_checkable
class Behaving(Protocol):
    """An output that keeps a table of users' actions."""

    @classmethod
    def table_name(cls, config: Any) -> str:
        """The table that an output of this config keeps."""

    def behavior(self) -> BehaviorTable:
        """Its table, while it is open."""

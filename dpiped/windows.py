"""Event time: the watermark, and which windows it closes. A function of packs and journaled ticks, never of the clock.

The watermark is the largest event time seen minus the lateness; it moves after a whole pack. An event too far past the
time its pack was accepted does not move it. So many ticks without an event move it to the end of the newest window
that holds data, if that is over by the time of the ticks. Windows are half-open [start, end) in milliseconds, aligned
to the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BEFORE_ALL_MS = -(1 << 62)
"""A time before that of any event."""


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """The keys of a windowed filter that its runner owns, in milliseconds."""

    lateness_ms: int = 5_000
    idle_ms: int = 10_000
    max_ahead_ms: int = 60_000
    on_late: Literal["drop", "emit"] = "drop"
    tick_ms: int = 1_000


class Watermark:
    """The clock of one windowed filter. Its state is three numbers (`dumps`)."""

    def __init__(self, policy: WindowPolicy) -> None:
        self.policy = policy
        self.at_ms = BEFORE_ALL_MS
        """All windows that end at or before it are closed."""
        self._newest_ms = BEFORE_ALL_MS
        self._idle_ticks = 0

    def horizon(self, accepted_ms: int) -> int:
        """Events after it are too far ahead to open a window."""
        return accepted_ms + self.policy.max_ahead_ms

    @property
    def newest_ms(self) -> int:
        """Time of the newest event that was seen; BEFORE_ALL_MS before the first."""
        return self._newest_ms

    def saw(self, newest_ms: int) -> None:
        """A whole pack was read; its newest event that is not too far ahead."""
        self._idle_ticks = 0
        self._newest_ms = max(self._newest_ms, newest_ms)
        self.at_ms = max(self.at_ms, self._newest_ms - self.policy.lateness_ms)

    def tick(self, newest_end_ms: int | None) -> None:
        """A tick without an event since the last one; `newest_end_ms` is the end of the newest window that holds
        data.
        """
        self._idle_ticks += 1
        if newest_end_ms is not None and self._idle_ticks * self.policy.tick_ms >= self.policy.idle_ms:
            self.at_ms = max(self.at_ms, newest_end_ms)

    def close_all(self, newest_end_ms: int | None) -> None:
        """Batch mode: nothing more will come."""
        if newest_end_ms is not None:
            self.at_ms = max(self.at_ms, newest_end_ms)

    def dumps(self) -> tuple[int, int, int]:
        return self.at_ms, self._newest_ms, self._idle_ticks

    def loads(self, data: tuple[int, int, int]) -> None:
        self.at_ms, self._newest_ms, self._idle_ticks = data

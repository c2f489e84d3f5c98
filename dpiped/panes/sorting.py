"""Sorts the events of a pack into panes; most packs need it not, for they lie in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dpiped.panes.periods import Periods


class Sorted:
    """Which events are too far ahead, late, or in which pane; indices of the pack's events."""

    def __init__(self, stamps: list[int], oldest: int, horizon: int) -> None:
        times = np.array(stamps, dtype=np.int64)
        ahead = times > horizon
        late = (times < oldest) & ~ahead
        self.ahead = int(ahead.sum())
        self.late: list[bool] = late.tolist()
        self.late_count = int(late.sum())
        self.newest = int(times[~ahead].max()) if self.ahead < len(stamps) else None
        """Time of the newest event that is not too far ahead, late or not."""
        self._times = times
        self._kept = np.flatnonzero(~(ahead | late))

    def panes(self, periods: Periods) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """((start, end), its events in the order of the pack) of each pane, oldest first."""
        by_time = self._kept[np.argsort(self._times[self._kept], kind="stable")]
        times: Any = self._times[by_time]
        at = 0
        while at < len(times):
            pane = periods.pane(int(times[at]))
            behind = int(np.searchsorted(times, pane[1], side="left"))
            behind = max(behind, at + 1)
            yield pane, np.sort(by_time[at:behind]).tolist()
            at = behind

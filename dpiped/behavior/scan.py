"""Scan: one reading of a table from its first to its last user, which can be stopped and has a limit of time.

It runs in a thread. Most of its time goes into numpy and zstd, which let other threads work meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from dpiped.behavior.rows import BUCKETS, Rows
from dpiped.behavior.table import BehaviorTable
from dpiped.errors import DpipeError


class ScanStoppedError(DpipeError):
    """Nobody waits for the answer any more, or it took too long."""


class Scan:
    """`stop` may be called from any thread."""

    def __init__(self, table: BehaviorTable, limit_secs: float = float("inf")) -> None:
        self.table = table
        self._limit_secs = limit_secs
        self._ends = time.monotonic() + limit_secs
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends it soon; it raises ScanStoppedError."""
        self._stopped.set()

    def users(self, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[Rows]:
        """All rows of times in [from_ms, to_ms), in pieces that hold all rows of their users, in order.

        All pieces are of the same moment. Raises ScanStoppedError and LevelDbError.
        """
        with self.table.view() as view:
            for bucket in range(BUCKETS):
                self._check()
                rows = view.bucket(bucket, from_ms, to_ms)
                if len(rows):
                    yield rows

    def _check(self) -> None:
        if self._stopped.is_set():
            raise ScanStoppedError("the scan was stopped")
        if time.monotonic() > self._ends:
            raise ScanStoppedError(f"the scan took more than {self._limit_secs:g} s: ask about less time")

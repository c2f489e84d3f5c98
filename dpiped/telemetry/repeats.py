"""Repeats: what happens again and again for the same reason is logged once, and then summed up now and then.

A codec that meets bad lines reports with every block; a line for each would be a second flood. All of it is counted in
the metrics at once; only the log (and `_dpipe.events`) waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from dpiped.telemetry.events import EventsDropped, EventsRejected, HandshakesFailed

SUM_UP_SECS = 10.0
MOST_REASONS = 1_000
"""So many different ones are remembered; more are logged one by one."""

Amount = EventsDropped | EventsRejected | HandshakesFailed


class Repeats:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[tuple[type, str, str], float] = {}
        """When it was last logged."""
        self._held: dict[tuple[type, str, str], Amount] = {}

    def passes(self, event: Amount) -> Amount | None:
        """What to log now: the event with all that was held back of its kind; None: it is held back as well."""
        key, now = (type(event), event.plugin, event.reason), self._clock()
        with self._lock:
            held = self._held.pop(key, None)
            summed = replace(event, amount=event.amount + held.amount) if held is not None else event
            if now - self._told.get(key, -SUM_UP_SECS) < SUM_UP_SECS:
                self._held[key] = summed
                return None
            if len(self._told) < MOST_REASONS:
                self._told[key] = now
            return summed

    def due(self) -> list[Amount]:
        """What was held back for long enough; it counts as logged."""
        now = self._clock()
        with self._lock:
            keys = [key for key in self._held if now - self._told[key] >= SUM_UP_SECS]
            self._told = {key: at for key, at in self._told.items() if now - at < SUM_UP_SECS or key in self._held}
            self._told |= dict.fromkeys(keys, now)
            return [self._held.pop(key) for key in keys]

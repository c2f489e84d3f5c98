"""Telemetry: where events go. What is emitted at warning or above is also handed to `listener` (the engine appends it
to the journal as packs of ident `_dpipe.events`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from dpiped.telemetry.events import Event, Loss, Said
from dpiped.telemetry.metrics import Metrics
from dpiped.telemetry.repeats import Amount, Repeats

log = logging.getLogger("dpipe")
MOST_LOSSES = 100


class Telemetry:
    """One for each daemon or collector; thread-safe."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.listener: Callable[[Event], None] | None = None
        self.losses: deque[str] = deque(maxlen=MOST_LOSSES)
        """What was lost or moved aside since the start, a line each, the newest last."""
        self._repeats = Repeats()

    def emit(self, event: Event) -> None:
        """Counts at once; logs, unless the same was logged a moment ago: then it is summed up later."""
        event.count(self.metrics)
        if isinstance(event, Loss):
            pairs = ", ".join(f"{name} {value}" for name, value in event.details().items())
            self.losses.append(f"{event.message}: {pairs}")
        passed = self._repeats.passes(event) if isinstance(event, Amount) else event
        if passed is not None:
            self._log(passed)

    def sum_up(self) -> None:
        """Logs what was held back for long enough; called now and then."""
        for event in self._repeats.due():
            self._log(event)

    def _log(self, event: Event) -> None:
        level = event.severity if isinstance(event, Said) else event.level
        text = event.text if isinstance(event, Said) else event.message
        log.log(level, text, extra={"details": event.details()})
        if level >= logging.WARNING and self.listener is not None:
            self.listener(event)

    def say(self, text: str, *, plugin: str = "", detail: str = "", level: int = logging.INFO) -> None:
        """Short for `emit(Said(..))`."""
        self.emit(Said(text=text, plugin=plugin, detail=detail, severity=level))

"""What telemetry reports at warning or above, as packs of ident `_dpipe.events`: the daemon's own alarms are ordinary
alarms.

Rate-limited and bounded: what is over the limit is counted in the next pack. Every pack is about one plugin, which
stands in its source, so that the output that caused a report does not get it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

import msgspec

from dpiped.errors import UnavailableError
from dpiped.hidden import blot
from dpiped.journal.append import Draft, Lot
from dpiped.journal.journal import Journal
from dpiped.pack import EVENTS_IDENT, Head
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import Event, Said

PERIOD_SECS = 1.0
MOST_PER_PERIOD = 50
"""Reports a second; more of them are only counted."""


class SelfReport:
    """One task. `telemetry.listener` may call `hear` from any thread."""

    def __init__(self, journal: Journal, telemetry: Telemetry) -> None:
        self._journal = journal
        self._heard: deque[tuple[int, Event]] = deque(maxlen=MOST_PER_PERIOD)
        self._left_out = 0
        telemetry.listener = self.hear

    def hear(self, event: Event) -> None:
        if len(self._heard) == MOST_PER_PERIOD:
            self._left_out += 1
            return
        self._heard.append((int(time.time() * 1000), event))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECS)
            await self.flush()

    async def flush(self) -> None:
        """Appends what was heard. When the journal takes nothing it is only in the log.

        While its last write failed there is always something to append: else nobody would notice that it works again.
        """
        if not self._heard and self._journal.room.failing:
            detail = self._journal.room.failing
            self.hear(Said(text="journal is tried again", detail=detail, severity=logging.WARNING))
        if not self._heard:
            return
        heard, self._heard = list(self._heard), deque(maxlen=MOST_PER_PERIOD)
        by_plugin: dict[str, list[bytes]] = {}
        for at_ms, event in heard:
            by_plugin.setdefault(getattr(event, "plugin", ""), []).append(_line(at_ms, event, self._left_out))
            self._left_out = 0
        drafts = [self._draft(plugin, lines, heard) for plugin, lines in by_plugin.items()]
        try:
            await self._journal.append("~self report", "input", [Lot(drafts)])
        except UnavailableError:
            self._left_out += len(heard)

    @staticmethod
    def _draft(plugin: str, lines: list[bytes], heard: list[tuple[int, Event]]) -> Draft:
        body = b"".join(lines)
        head = Head(
            ident=EVENTS_IDENT,
            source=plugin,
            accepted_ms=heard[-1][0],
            min_ts=heard[0][0],
            max_ts=heard[-1][0],
            count=len(lines),
            raw_bytes=len(body),
        )
        return Draft(head, body)


def _line(at_ms: int, event: Event, left_out: int) -> bytes:
    text = event.text if isinstance(event, Said) else event.message
    level = event.severity if isinstance(event, Said) else event.level
    said = {"@timestamp": at_ms, "level": "error" if level >= 40 else "warning", "text": text, **event.details()}
    if left_out:
        said["left_out"] = left_out
    return blot(msgspec.json.encode(said).decode()).encode() + b"\n"

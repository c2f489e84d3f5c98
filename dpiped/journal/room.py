"""Room: whether the journal has some, in its budget and on its disk, and what the log says while it takes nothing.

A disk that is full, or a journal that is, refuses hundreds of times a second, and takes small packs between large ones.
So each reason is told once, and that it is over when nothing was refused for it for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dpiped.errors import UnavailableError
from dpiped.journal.append import Kind
from dpiped.journal.base import Storage
from dpiped.telemetry import Telemetry
from dpiped.telemetry.events import JournalFailed

LOW_WATER = 0.9
"""After being full the journal takes packs again below this share of its budget."""
LOOK_SECS = 1.0
"""So often the disk is asked how much is free."""
QUIET_SECS = 10.0
RETRY_AFTER_SECS = 2.0
FULL = "the journal is full: an output is too far behind"
LOW = "the disk of data_dir has less than min_free_bytes left"
GONE = "the folder of the journal was removed or moved: bring it back, or start the daemon anew"


class Outage:
    """A kind of reason for which nothing is taken."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reason = ""
        self._met_at = 0.0

    def begins(self, reason: str) -> bool:
        """It was met; whether that has to be told."""
        is_new, self._reason, self._met_at = reason != self._reason, reason, self._clock()
        return is_new

    @property
    def recent(self) -> str:
        """The reason, for as long as it may be met again at any moment."""
        return self._reason if self._clock() - self._met_at < QUIET_SECS else ""

    def ends(self) -> bool:
        """It was not met; whether that has to be told."""
        if not self._reason or self.recent:
            return False
        self._reason = ""
        return True


class Room:
    """Used on the event loop by the one writer, and by who asks how things are."""

    def __init__(self, storage: Storage, telemetry: Telemetry, max_bytes: int, min_free_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._storage = storage
        self._telemetry = telemetry
        self._min_free_bytes = min_free_bytes
        self._full = False
        self._looked_at = 0.0
        self._low = self._gone = False
        self._refusing = {FULL: Outage(), LOW: Outage(), GONE: Outage()}
        self._broken = Outage()
        self.failing = ""
        """Why the last write failed; empty when writing works."""

    @property
    def full(self) -> bool:
        """Whether inputs have to wait. Filters never do, or a full journal could never drain."""
        used = self._storage.used_bytes - self._storage.idle_bytes
        self._full = used >= self.max_bytes * (LOW_WATER if self._full else 1)
        return self._full

    @property
    def low(self) -> bool:
        """Whether the disk has so little left that nobody may write."""
        self._look()
        return self._low

    @property
    def gone(self) -> bool:
        """Whether what is written would not be found by a restart."""
        self._look()
        return self._gone

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at <= LOOK_SECS:
            return
        self._looked_at = now
        try:
            self._gone = not self._storage.in_place
            free = self._storage.free_disk_bytes()
        except OSError:
            free = None  # nobody knows; the write tells
        self._low = free is not None and free < self._min_free_bytes

    @property
    def short(self) -> bool:
        """Whether inputs wait for somebody to make room."""
        return self.full or self.low

    @property
    def problems(self) -> list[str]:
        """Why inputs get no answer now, or 503."""
        broken = self.failing or self._broken.recent
        found = [
            (broken, broken),
            (self.full, "full"),
            (self.low, "less than min_free_bytes left"),
            (self.gone, GONE.removeprefix("the folder of the journal ")),
        ]
        return [f"journal: {text}" for is_so, text in found if is_so]

    def refusal(self, kind: Kind) -> UnavailableError | None:
        """Why an append is refused before it is tried."""
        for reason, is_so in ((FULL, kind == "input" and self.full), (LOW, self.low), (GONE, self.gone)):
            if is_so:
                if self._refusing[reason].begins(reason):
                    self._telemetry.say(reason, level=logging.ERROR if reason == GONE else logging.WARNING)
                return UnavailableError(reason, RETRY_AFTER_SECS)
        if kind == "input" and self._ended():
            self._telemetry.say("the journal takes packs again")
        return None

    def _ended(self) -> bool:
        ended = [outage.ends() for outage in self._refusing.values()]
        return any(ended)

    def failed(self, exc: OSError) -> UnavailableError:
        """A write failed, or what it left could not be cut off."""
        self.failing = f"{exc.strerror or exc}"
        event = JournalFailed(error=self.failing)
        if self._broken.begins(self.failing):
            self._telemetry.emit(event)
        else:
            event.count(self._telemetry.metrics)
        return UnavailableError(f"the journal cannot be written: {self.failing}", RETRY_AFTER_SECS)

    def wrote(self) -> None:
        """A write succeeded."""
        self.failing = ""
        if self._broken.ends():
            self._telemetry.say("journal can be written again")

"""Owed: a message that some people have not got while others have, since the service refused their addresses for now,
as a greylist does, or a full mailbox.

It is saved with the pool, and tried again in its own time, so that nobody else waits for it: the wait doubles from try
to try, and after a day it is given up.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

FIRST_SECS, MOST_SECS = 30.0, 900.0
"""The first wait and the longest. Greylists take a message after some minutes, and count who comes often."""
GIVE_UP_SECS = 24 * 3600.0
MAX_BYTES = 4 << 20
"""Of all that is owed: it is saved with each cursor."""


class Owed(msgspec.Struct, array_like=True, frozen=True):
    """One message. Fields are only ever added, at the end."""

    message: bytes
    """As the others got it."""
    addresses: tuple[str, ...]
    events: int
    since_ms: int
    tried_ms: int
    tries: int = 1

    def due_secs(self, now_ms: int) -> float:
        """Seconds until the next try."""
        if now_ms < self.tried_ms:  # the clock was set back
            return 0.0
        wait = min(MOST_SECS, FIRST_SECS * (1 << min(self.tries - 1, 30)))
        return max(0.0, wait - (now_ms - self.tried_ms) / 1000)

    def is_over(self, now_ms: int) -> bool:
        """Whether it is tried no more."""
        return now_ms - self.since_ms >= GIVE_UP_SECS * 1000

    def tried(self, now_ms: int) -> Owed:
        """After one more try."""
        return msgspec.structs.replace(self, tried_ms=now_ms, tries=self.tries + 1)

    def only(self, addresses: Iterable[str]) -> Owed:
        """The same, to these of its addresses."""
        return msgspec.structs.replace(self, addresses=tuple(addresses))

"""Backoff: how long to wait before the next try."""

from __future__ import annotations

import random

from dpiped.errors import TemporaryError


class Backoff:
    """Full jitter: a random wait up to a bound that doubles from try to try."""

    def __init__(self, initial_secs: float, max_secs: float) -> None:
        self._initial = initial_secs
        self._max = max_secs
        self.tries = 0

    def secs_after(self, exc: Exception) -> float:
        """How long to wait after this error: at least as long as it asks for."""
        bound = min(self._max, self._initial * 2 ** min(self.tries, 30))
        self.tries += 1
        asked = exc.retry_after_secs if isinstance(exc, TemporaryError) else None
        return max(random.uniform(0, bound), asked or 0.0)

    def reset(self) -> None:
        self.tries = 0

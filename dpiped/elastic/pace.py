"""How many requests a server gets at once: more while it answers well, half as many when it says that it is full."""

from __future__ import annotations

SLOW = 3.0
"""Answers that take so many times the quickest usual one are a sign of queues: no more requests then."""
SMOOTH = 0.2


class Pace:
    """Additive increase, multiplicative decrease, between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._width = 1.0
        self._usual = 0.0
        """Seconds an answer takes, smoothed."""
        self._best = 0.0

    @property
    def width(self) -> int:
        """Requests at once."""
        return int(self._width)

    def took(self, secs: float) -> None:
        """A request was answered well."""
        self._usual = secs if not self._usual else self._usual + SMOOTH * (secs - self._usual)
        self._best = min(self._best or self._usual, self._usual)
        if self._usual > SLOW * self._best:
            self._width = max(1.0, self._width - 1 / self._width)
            self._best *= 1.01  # what was quick once may never come again
        else:
            self._width = min(float(self._most), self._width + 1 / self._width)

    def full(self) -> None:
        """The server said 429, or failed."""
        self._width = max(1.0, self._width / 2)

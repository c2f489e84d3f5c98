"""Pool: events that wait until there is enough to disturb somebody for, and until it is time to.

A message is due when severities or counts reach their mark, or something has waited for `pool_secs`; then the gap since
the last one and the quiet hours are kept. An `again` event counts for nothing and replaces the last one of its alarm.

Saved, as msgpack: [version 1, generation, taken, last_sent_ms, dropped, [Entry ..], begun, [Owed ..]]. `taken` is the
last offset whose events are in the pool or in a message already: a pack that comes again after a crash adds nothing.
`begun`: a part of the message was delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import msgspec

from dpiped.pooled.entry import Entry, wordless
from dpiped.pooled.hours import Hours
from dpiped.pooled.owed import MAX_BYTES, Owed

AGAIN, RESOLVED = "again", "resolved"


@dataclass(frozen=True, slots=True)
class Rules:
    """When a message is due."""

    severity: float | None
    count: int | None
    wait_ms: int
    gap_ms: int
    hours: Hours
    limit: int


@dataclass(frozen=True, slots=True)
class Digest:
    """What one message is made of."""

    entries: Sequence[Entry]
    """The most severe first, those that are resolved behind all others; at least one."""
    dropped: int
    """Older ones that had no room in the pool."""
    lacks: Literal["", "samples", "words"] = ""
    """What of the events was left out, since the service refused it."""

    @property
    def top(self) -> Entry:
        return self.entries[0]

    @property
    def resolved(self) -> bool:
        """Whether nothing in it goes on."""
        return self.top.state == RESOLVED  # behind it are only more of them

    def less(self) -> Sequence[Digest]:
        """What to send in place of a message that was refused, in this order: all of it without samples, then its
        halves, of a single event no word of its own; at last nothing.
        """
        entries, middle = self.entries, len(self.entries) // 2
        if not self.lacks and any(entry.samples for entry in entries):
            bare = [msgspec.structs.replace(entry, samples=[]) for entry in entries]
            return (replace(self, entries=bare, lacks="samples"),)
        if middle:
            return replace(self, entries=entries[:middle]), replace(self, entries=entries[middle:], dropped=0)
        return () if self.lacks == "words" else (replace(self, entries=[wordless(self.top)], lacks="words"),)


class _Saved(msgspec.Struct, array_like=True):
    version: int
    generation: int
    taken: int
    last_sent_ms: int
    dropped: int
    entries: list[Entry]
    begun: bool = False
    owed: list[Owed] = []


class Pool:
    """Not thread-safe. `dropped` is called with the number of events that found no room."""

    def __init__(self, rules: Rules, on_dropped: Callable[[int], None]) -> None:
        self._rules, self._on_dropped = rules, on_dropped
        self._entries: dict[str, Entry] = {}
        """The oldest first; an `again` event stands under its fingerprint, any other under a number."""
        self._number = 0
        self._severity = 0.0
        """Sum over those that count."""
        self._counted = 0
        self._dropped = 0
        self._begun = False
        """What is left of a message whose parts go one by one waits for no mark."""
        self._owed: list[Owed] = []
        """The oldest first."""
        self.last_sent_ms = 0
        self.generation = 1
        self.taken = -1
        self._stored: bytes | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[Entry], generation: int, offset: int, *, over: int = 0) -> None:
        """The events of one pack; `over` older ones of it were left out, as too many for any pool. The caller asks
        `knows` before.
        """
        self._stored = None
        self.generation, self.taken = generation, offset
        for entry in entries:
            self._put(entry)
        excess = max(0, len(self._entries) - self._rules.limit)
        for key in list(islice(self._entries, excess)):
            over += self._entries[key].times
            self._tally(self._entries.pop(key), -1)
        if over:
            self._dropped += over
            self._on_dropped(over)

    def knows(self, generation: int, offset: int) -> bool:
        """Whether the events of this pack have been added; what an operator sends again is another generation."""
        return generation == self.generation and offset <= self.taken

    def _put(self, entry: Entry) -> None:
        self._number += 1
        key = str(self._number)
        if entry.state == AGAIN and entry.fingerprint:
            key = f"again {entry.fingerprint}"
            if before := self._entries.pop(key, None):
                entry.times += before.times
        self._entries[key] = entry
        self._tally(entry, 1)

    def _tally(self, entry: Entry, sign: int) -> None:
        if entry.state != AGAIN:
            self._severity += sign * entry.score
            self._counted += sign
        if not self._counted:
            self._severity = 0.0  # sums of floats drift

    # ---- out -------------------------------------------------------------------------------------------------------
    def due_secs(self, now_ms: int) -> float | None:
        """Seconds until a message is due, as far as is known now; None while nothing waits that counts."""
        if not self._counted:
            return None
        rules = self._rules
        wait = 0.0
        if not self._is_full():
            oldest = next(entry for entry in self._entries.values() if entry.state != AGAIN)
            wait = rules.wait_ms - (now_ms - oldest.added_ms) if now_ms >= oldest.added_ms else 0.0
        if now_ms >= self.last_sent_ms:  # else the clock was set back
            wait = max(wait, rules.gap_ms - (now_ms - self.last_sent_ms))
        return max(0.0, wait / 1000, rules.hours.hold(now_ms))

    def _is_full(self) -> bool:
        rules = self._rules
        if self._begun or (rules.severity is None and rules.count is None):
            return True
        by_severity = rules.severity is not None and self._severity >= rules.severity
        return by_severity or (rules.count is not None and self._counted >= rules.count)

    def digest(self) -> Digest:
        """All that is in the pool; each event stays there until it is `sent`."""
        return Digest(sorted(self._entries.values(), key=_rank), self._dropped)

    def sent(self, digest: Digest, now_ms: int) -> None:
        """This digest, or what `less` made of it, was delivered."""
        self._stored = None
        names = {entry.name for entry in digest.entries}
        for key in [key for key, entry in self._entries.items() if entry.name in names]:
            self._tally(self._entries.pop(key), -1)
        self._dropped -= digest.dropped
        self._begun = bool(self._entries)
        self.last_sent_ms = now_ms

    # ---- what some people have not got -----------------------------------------------------------------------------
    @property
    def owed(self) -> Sequence[Owed]:
        return tuple(self._owed)

    def owe(self, owed: Owed) -> list[Owed]:
        """Keeps it until it is settled. Returns older ones that have no room any more."""
        self._stored = None
        self._owed = sorted([*self._owed, owed], key=lambda one: one.since_ms)
        over = []
        while len(self._owed) > 1 and sum(len(one.message) for one in self._owed) > MAX_BYTES:
            over.append(self._owed.pop(0))
        return over

    def settle(self, owed: Owed) -> None:
        """It is delivered, given up, or owed anew."""
        self._stored = None
        self._owed.remove(owed)

    def owed_secs(self, now_ms: int) -> float | None:
        """Seconds until some of it is tried again, in no quiet hour; None while nothing is owed."""
        if not self._owed:
            return None
        return max(min(one.due_secs(now_ms) for one in self._owed), self._rules.hours.hold(now_ms))

    # ---- state -----------------------------------------------------------------------------------------------------
    def dumps(self) -> bytes:
        """Made anew only after a change."""
        if self._stored is None:
            entries = [*self._entries.values()]
            marks = (self.generation, self.taken, self.last_sent_ms, self._dropped)
            self._stored = msgspec.msgpack.encode(_Saved(1, *marks, entries, self._begun, self._owed))
        return self._stored

    def loads(self, data: bytes) -> None:
        """The inverse of `dumps`. Raises msgspec.DecodeError."""
        saved = msgspec.msgpack.decode(data, type=_Saved)
        self.generation, self.taken = saved.generation, saved.taken
        self.last_sent_ms, self._dropped, self._begun = saved.last_sent_ms, saved.dropped, saved.begun
        self._owed = saved.owed
        self._entries.clear()
        self._severity, self._counted = 0.0, 0
        for entry in saved.entries:
            self._put(entry)


def _rank(entry: Entry) -> tuple[bool, float, float, int, str]:
    """An alarm that is over has the severity it had, and would hide one that goes on."""
    return entry.state == RESOLVED, -entry.severity, -entry.score, -entry.at_ms, entry.name

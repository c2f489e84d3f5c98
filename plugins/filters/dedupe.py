"""Filter `dedupe`: lets the first of equal events through, and drops those that follow it within a time.

Delivery: exactly once. What was seen survives a kill exactly and is a function of the journal alone. Dropped events are
counted as `duplicate` in `dpipe_dropped_events_total`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Annotated, Any

import msgspec
from pydantic import Field, model_validator

from dpiped.api import (
    LONGEST_TEXT,
    PAUSE,
    KeyFields,
    PackDraft,
    PackView,
    PluginConfig,
    StatefulFilter,
    WindowSecs,
    held_with_lists,
    keys_of,
    register,
)

CLOCK, KEY = b"c", b"k"
"""State: `c` -> [newest time, ticks since, next number]; `k` DIGEST(16) -> a Seen; all msgpack arrays."""
EVENTS_AT_ONCE, SUMMARIES_AT_ONCE = 1_000, 500
"""So that the event loop is kept for 5 ms at most."""
RESERVED = ("@timestamp", "_first", "_repeats")


class DedupeConfig(PluginConfig):
    fields: KeyFields = ()
    """Events with equal values in these fields are the same; by default only events that are equal in every byte,
    `@timestamp` included. An event without any of the fields passes.
    """
    window_secs: WindowSecs = 60
    """So long after the first one, by `@timestamp`, equal events are dropped; the next one is a first one again."""
    max_keys: Annotated[int, Field(gt=0, le=10_000_000)] = 100_000
    """So many first events are remembered (about 300 bytes each); above it the oldest is forgotten, and counted as
    `key_forgotten`.
    """
    count: bool = False
    """When the time of a first event that had repeats is over, emit one more event: its `fields`, `_repeats` (how many
    were dropped), `_first` (time of the first) and `@timestamp` (of the last). A text of more than 4,096 characters
    is told as its first 1,000, `..` and a hash.
    """

    @model_validator(mode="after")
    def _check(self) -> DedupeConfig:
        if self.count and not self.fields:
            raise ValueError("count: expected fields, for they are what a summary tells of its events")
        if clash := sorted(set(self.fields) & set(RESERVED[1:])):
            raise ValueError(f"fields: the name {clash[0]!r} is taken by another field of the summary")
        return self


class Seen(msgspec.Struct, array_like=True, gc=False):
    """A first event."""

    number: int
    """In the order in which they came."""
    at_ms: int
    repeats: int
    last_ms: int
    """Time of the last repeat."""
    project: str
    key: bytes
    """Its values, for the summary, of which long ones are cut; empty if there will be none."""


_encode, _decode_seen = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Seen).decode
_decode_clock = msgspec.msgpack.Decoder(tuple[int, int, int]).decode


@register("dedupe")
class DedupeFilter(StatefulFilter[DedupeConfig]):
    def __init__(self, config: DedupeConfig, context: Any) -> None:
        super().__init__(config, context)
        self._window_ms = max(1, round(config.window_secs * 1000))
        self._seen: dict[bytes, Seen] = {}
        """Digest -> first event, in the order of their numbers."""
        self._newest_ms, self._idle_ticks, self._next = -1, 0, 0
        self._changed: dict[bytes, None] = {}
        self._clock_changed = False

    def fields(self) -> Iterable[str]:
        return self.config.fields

    # ---- packs and ticks -------------------------------------------------------------------------------------------
    def process(self, pack: PackView) -> Iterator[PackDraft]:
        ended: list[Seen] = []
        kept: list[bool] = []
        for part in pack.slices(EVENTS_AT_ONCE):
            kept += self._judge(part, ended)
            yield PAUSE
        passed = pack.only(kept)
        if passed.count < pack.count:
            dropped = self.context.telemetry.metrics.dropped  # as the operator wants it: nothing for the log
            dropped.labels(self.context.name, "duplicate").inc(pack.count - passed.count)
        if passed.count:
            yield PackDraft(passed.body, passed.count, *passed.span)
        yield from self._summaries(ended)
        yield from self._forget()

    def _judge(self, pack: PackView, ended: list[Seen]) -> Iterator[bool]:
        """Whether each event passes; first events that another one takes the place of go to `ended`."""
        head = pack.head
        horizon = head.accepted_ms + self.context.window.max_ahead_ms
        tenant = head.project.encode() + b"\0"
        stamps: Any = pack.column("@timestamp")
        newest, ahead = self._newest_ms, 0
        for key, at in zip(keys_of(pack, self.config.fields), stamps, strict=True):
            if newest < at <= horizon:
                newest = at
            if key is None:
                yield True
                continue
            digest = blake2b(tenant + key, digest_size=16).digest()
            seen = self._seen.get(digest)
            if seen is not None and abs(at - seen.at_ms) < self._window_ms:
                seen.repeats += 1
                seen.last_ms = max(seen.last_ms, at)
                self._changed[digest] = None
                yield False
                continue
            yield True
            if at > horizon:
                ahead += 1
            elif seen is None or at > seen.at_ms:
                ended += self._remember(digest, at, head.project, key)
        self._newest_ms, self._idle_ticks, self._clock_changed = newest, 0, True
        self._note("too_far_ahead", ahead)

    def _remember(self, digest: bytes, at_ms: int, project: str, key: bytes) -> list[Seen]:
        """Returns those that had to go for it."""
        gone = [seen] if (seen := self._seen.pop(digest, None)) else []
        self._seen[digest] = Seen(self._next, at_ms, 0, at_ms, project, self._told(key) if self.config.count else b"")
        self._changed[digest] = None
        self._next += 1
        if len(self._seen) > self.config.max_keys:
            gone.append(self._pop())
            self._note("key_forgotten", 1)
        return gone

    def _told(self, key: bytes) -> bytes:
        """What is held of the values of a first event."""
        if len(key) <= LONGEST_TEXT:
            return key
        values = msgspec.json.decode(key)
        one = len(self.config.fields) == 1
        return msgspec.json.encode(held_with_lists(values) if one else list(map(held_with_lists, values)))

    def _pop(self) -> Seen:
        """Forgets the oldest."""
        digest = next(iter(self._seen))
        self._changed[digest] = None
        return self._seen.pop(digest)

    def tick(self, now_ms: int) -> Iterator[PackDraft]:
        """While nothing comes, time goes on by the ticks: not by the clock, so that a daemon that was down forgets
        nothing.
        """
        self._idle_ticks += 1
        self._clock_changed = True
        yield from self._forget()

    def finish(self) -> Iterator[PackDraft]:
        ended = [self._pop() for _ in range(len(self._seen))]
        yield from self._summaries(ended)

    def _forget(self) -> Iterator[PackDraft]:
        """Those whose time is over, oldest first; one that is ahead of the others holds up those behind it."""
        policy = self.context.window
        end = self._newest_ms + self._idle_ticks * policy.tick_ms - policy.lateness_ms - self._window_ms
        ended: list[Seen] = []
        while self._seen and next(iter(self._seen.values())).at_ms <= end:
            ended.append(self._pop())
        yield from self._summaries(ended)

    def _summaries(self, ended: list[Seen]) -> Iterator[PackDraft]:
        """Packs of one project each, in the order of the events."""
        told = [seen for seen in ended if seen.repeats] if self.config.count else []
        for project in dict.fromkeys(seen.project for seen in told):
            mine = [seen for seen in told if seen.project == project]
            for at in range(0, len(mine), SUMMARIES_AT_ONCE):
                some = mine[at : at + SUMMARIES_AT_ONCE]
                body = msgspec.json.Encoder().encode_lines([self._summary(seen) for seen in some])
                times = [seen.last_ms for seen in some]
                yield PackDraft(body, len(some), min(times), max(times), project=project, host="", source="")

    def _summary(self, seen: Seen) -> dict[str, Any]:
        values = msgspec.json.decode(seen.key)
        values = [values] if len(self.config.fields) == 1 else values
        pairs = zip(self.config.fields, values, strict=True)
        shown = {name: value for name, value in pairs if value is not None and name != "@timestamp"}
        return {"@timestamp": seen.last_ms, **shown, "_repeats": seen.repeats, "_first": seen.at_ms}

    def _note(self, what: str, amount: int) -> None:
        if amount:
            self.context.telemetry.metrics.noted.labels(self.context.name, what).inc(amount)

    # ---- state -----------------------------------------------------------------------------------------------------
    def reset(self) -> None:
        self._changed.update(dict.fromkeys(self._seen))
        self._seen.clear()

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """One by one: whoever takes only some gets the rest with the next call."""
        while self._changed:
            digest, _ = self._changed.popitem()
            seen = self._seen.get(digest)
            yield KEY + digest, None if seen is None else _encode(seen)
        if self._clock_changed:
            self._clock_changed = False
            yield CLOCK, _encode((self._newest_ms, self._idle_ticks, self._next))

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        found: list[tuple[bytes, Seen]] = []
        for key, value in items:
            if key == CLOCK:
                self._newest_ms, self._idle_ticks, self._next = _decode_clock(value)
            else:
                seen = _decode_seen(value)
                seen.key = self._told(seen.key)
                found.append((key[1:], seen))
        self._seen = dict(sorted(found, key=lambda pair: pair[1].number))

    def fingerprint(self) -> str:
        return f"1/{self.config.fields}/{self.config.count}"

    def result(self) -> object:
        return {digest.hex(): msgspec.to_builtins(seen) for digest, seen in self._seen.items()}

    def status(self) -> dict[str, object]:
        return {"keys": len(self._seen)}

"""The base of outputs for people, such as `mail`. They hold events in a pool and send one message of all.

The pool is saved with the cursor, so it holds no pack back and survives a kill; while the service is down events go on
into the pool, whose oldest are dropped, counted and told in the next message when it is full.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections import deque
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

import msgspec
from pydantic import AfterValidator, Field, model_validator

from dpiped.batch import Batch
from dpiped.config.base import PluginConfig, Secs
from dpiped.errors import MessageRefusedError, TemporaryError
from dpiped.plugin import Output
from dpiped.pooled.compose import check_message
from dpiped.pooled.entry import Entry, Reading, entry_of
from dpiped.pooled.hours import Hours, check_span, check_zone
from dpiped.pooled.pool import Digest, Pool, Rules
from dpiped.pooled.severity import DEFAULT_SEVERITY
from dpiped.telemetry.events import DataLost, EventsDropped

MAX_TRIES = 30
"""So many messages are tried at once for one that is refused; what is refused of 500 events is found by 21."""
REFUSED_AGAIN_SECS = 60.0
"""A service that refuses any message gets up to 12 of them each time."""
Span = Annotated[str, AfterValidator(check_span)]
Zone = Annotated[str, AfterValidator(check_zone)]
Message = Annotated[str, AfterValidator(check_message)]


class PooledConfig(PluginConfig):
    """The keys of the pool."""

    subject: Message = "[dpipe] {resolved}{title}{more}"
    """First line of a message. Of its most severe event that is not resolved: `{title}`, `{severity}`, `{state}`,
    `{ident}`, `{project}`, `{host}`, `{group}`; `{resolved}` is "resolved: " if all are, or nothing; `{count}` events
    are in it, `{more}` is " (+3 more)" or nothing."""
    intro: Message = ""
    """Text before the events; the same fields as in `subject`."""
    severity_field: Annotated[str, Field(min_length=1)] = "severity"
    """Where an event says how bad it is: a number, higher = worse, or a name of syslog such as `error`."""
    severity: float = DEFAULT_SEVERITY
    """Severity of events that bring none."""
    min_severity: float = 0.0
    """Events below it are not told; they are counted."""
    pool_severity: Annotated[float, Field(gt=0)] | None = Field(default=None, examples=[100])
    """A message is sent when the scores in the pool add up to this; by default every event is reason enough."""
    pool_count: Annotated[int, Field(gt=0)] | None = Field(default=None, examples=[10])
    """A message is sent when so many events are in the pool. `again` events of an alarm never count."""
    pool_secs: Annotated[float, Field(gt=0)] = 3600.0
    """Longest time that an event waits for the pool to fill."""
    pool_events: Annotated[int, Field(gt=0, le=500)] = 200
    """More than these are not kept: the oldest are dropped, counted, and the next message says how many."""
    min_gap_secs: Secs = 60.0
    """Time between two messages, at least."""
    suppress_hours: tuple[Span, ...] = Field(default=(), examples=[["22:00-07:00"]])
    """Times of the day in which nothing is sent; it is held until later."""
    timezone: Zone = "UTC"
    """The clock of `suppress_hours` and of the times in a message."""

    @model_validator(mode="after")
    def _check_hours(self) -> Self:
        if Hours(self.suppress_hours, self.timezone).always:
            raise ValueError("suppress_hours: they cover the whole day, nothing would ever be sent")
        return self


C = TypeVar("C", bound=PooledConfig)


class _Taken(NamedTuple):
    """One pack, as far as the pool wants it."""

    offset: int
    entries: list[Entry]
    quiet: int
    """Events below `min_severity`."""
    over: int
    """Older ones, more than any pool holds."""


class PooledOutput(Output[C]):
    """A subclass writes `deliver`, and calls `open` of this class in its own."""

    now_ms: ClassVar[Any] = staticmethod(lambda: int(time.time() * 1000))
    """Tests set the clock here."""

    def __init__(self, config: C, context: Any) -> None:
        super().__init__(config, context)
        rules = Rules(
            severity=config.pool_severity,
            count=config.pool_count,
            wait_ms=round(config.pool_secs * 1000),
            gap_ms=round(config.min_gap_secs * 1000),
            hours=Hours(config.suppress_hours, config.timezone),
            limit=config.pool_events,
        )
        self.pool = Pool(rules, self._count_dropped)

    async def open(self, saved: bytes | None) -> None:
        if not saved:
            return
        try:
            self.pool.loads(saved)
        except msgspec.DecodeError as exc:
            self.context.telemetry.emit(
                DataLost(place=self.context.name, amount=1, reason=f"the saved pool cannot be read: {exc}")
            )

    async def write(self, batch: Batch) -> None:
        quiet = 0
        for taken in await asyncio.to_thread(self._take, batch, self.now_ms()):
            if self.pool.knows(batch.generation, taken.offset):
                continue
            quiet += taken.quiet
            self.pool.add(taken.entries, batch.generation, taken.offset, over=taken.over)
            await asyncio.sleep(0)  # a pack is added whole or not at all; between two others may run
        if quiet:  # as the config wants it: no reason to say it in the log
            self.context.telemetry.metrics.dropped.labels(self.context.name, "below_min_severity").inc(quiet)

    def _take(self, batch: Batch, now_ms: int) -> list[_Taken]:
        """Each pack as entries; changes nothing, for it may go on in its thread after a stop."""
        names, config, found = batch.names(), self.config, []
        reading = Reading(config.severity_field, config.severity)
        for view, body in zip(batch.views, batch.bodies, strict=True):
            loud: deque[Entry] = deque(maxlen=config.pool_events)
            number = quiet = 0
            for line in body.splitlines():
                entry = entry_of(line, view.head, next(names), reading, now_ms)
                number += 1
                if entry.severity >= config.min_severity:
                    loud.append(entry)
                else:
                    quiet += 1
            found.append(_Taken(view.head.offset, [*loud], quiet, number - quiet - len(loud)))
        return found

    def due_secs(self) -> float | None:
        return self.pool.due_secs(self.now_ms())

    async def act(self) -> None:
        """All of the pool in one message. Where that is refused for good, in parts, so that one event holds up no
        other; what is not told by MAX_TRIES of them waits for the next message. An event is given up only when the
        service takes it without its words: one that does not would refuse any event, and nothing is given up.
        """
        left, reason = [self.pool.digest()], ""
        for _ in range(MAX_TRIES):
            part = left.pop()
            try:
                await self.deliver(part)
            except MessageRefusedError as exc:
                reason = str(exc)
                if not (less := part.less()):
                    text = f"{reason}; it refuses any message, also without a word of an event"
                    raise TemporaryError(text, REFUSED_AGAIN_SECS) from None
                left += reversed(less)
            else:
                self.pool.sent(part, self.now_ms())
                self._tell_lack(part, reason)
            if not left:
                return

    @abstractmethod
    async def deliver(self, digest: Digest) -> None:
        """Sends one message.

        Raises:
            TemporaryError: the same events and those that came since, later.
            MessageRefusedError: it will never be taken, but less of it may be.
        """

    def _tell_lack(self, part: Digest, reason: str) -> None:
        """Without a word of the event: the line goes to other outputs as an event, and they may refuse it as well."""
        telemetry, name = self.context.telemetry, self.context.name
        if part.lacks == "samples":
            telemetry.say("a message was refused with samples", plugin=name, detail=reason, level=logging.WARNING)
        if part.lacks == "words":
            detail = f"{part.top.name}: {reason}"
            telemetry.say("an event was refused", plugin=name, detail=detail, level=logging.WARNING)
            telemetry.emit(EventsDropped(plugin=name, amount=part.top.times, reason="refused"))

    def saved(self) -> bytes | None:
        return self.pool.dumps()

    def status(self) -> dict[str, object]:
        return {"pooled": len(self.pool), "last_sent_ms": self.pool.last_sent_ms}

    def _count_dropped(self, amount: int) -> None:
        self.context.telemetry.emit(EventsDropped(plugin=self.context.name, amount=amount, reason="pool_full"))

    async def close(self) -> None:
        """Says what waits, since a message that did not come is missed by nobody."""
        telemetry, name = self.context.telemetry, self.context.name
        waiting = len(self.pool) + sum(owed.events for owed in self.pool.owed)
        if not waiting:
            return
        if self.context.durable:
            telemetry.say("ends with a pool that is sent later", plugin=name, detail=f"{waiting} events")
        elif (task := asyncio.current_task()) is not None and task.cancelling():  # else it is started again
            telemetry.emit(EventsDropped(plugin=name, amount=waiting, reason="stopped_with_memory_journal"))

"""One type for each happening; emitting it writes the log line and counts the metric together (telemetry.py).

Levels as in `logging`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import ClassVar

from dpiped.telemetry.metrics import Metrics

SHOWN_REASONS = 5
"""Of one batch: texts of senders may make any number of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base: subclasses are frozen dataclasses, and their fields are what the log line shows."""

    level: ClassVar[int] = logging.INFO
    message: ClassVar[str] = ""

    def details(self) -> dict[str, object]:
        """The fields, for the log line."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def count(self, metrics: Metrics) -> None:
        """Counts what happened; most events count nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said(Event):
    """A plain message with its details; for what happens once and needs no metric."""

    text: str
    plugin: str = ""
    detail: str = ""
    severity: int = logging.INFO

    def details(self) -> dict[str, object]:
        pairs = {"plugin": self.plugin, "detail": self.detail}
        return {name: value for name, value in pairs.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDropped(Event):
    """Events that will not be delivered, and why. Never silent."""

    level = logging.WARNING
    message = "events dropped"
    plugin: str
    amount: int
    reason: str

    def count(self, metrics: Metrics) -> None:
        metrics.dropped.labels(self.plugin, self.reason).inc(self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsRejected(Event):
    """Events that an intake or a store refused; they are in the dead letter."""

    level = logging.WARNING
    message = "events rejected"
    plugin: str
    amount: int
    reason: str

    def count(self, metrics: Metrics) -> None:
        metrics.rejected.labels(self.plugin).inc(self.amount)


def rejections(plugin: str, reasons: Iterable[str]) -> Iterator[EventsRejected]:
    """One for each reason of a batch, the most frequent first; beyond SHOWN_REASONS they are one together."""
    counts = Counter(reasons)
    rest = counts.total()
    for reason, amount in counts.most_common(SHOWN_REASONS):
        yield EventsRejected(plugin=plugin, amount=amount, reason=reason)
        rest -= amount
    if rest:
        yield EventsRejected(plugin=plugin, amount=rest, reason="other reasons")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakesFailed(Event):
    """Who connected did not get as far as a request; `peer` is the last one."""

    level = logging.WARNING
    message = "TLS handshake failed"
    plugin: str
    amount: int
    what: str
    """For the metric."""
    reason: str
    peer: str

    def details(self) -> dict[str, object]:
        return {"plugin": self.plugin, "amount": self.amount, "peer": self.peer, "reason": self.reason}

    def count(self, metrics: Metrics) -> None:
        metrics.noted.labels(self.plugin, self.what).inc(self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginFailed(Event):
    """A plugin raised; it is tried again after `again_secs`, or stands."""

    level = logging.ERROR
    message = "plugin failed"
    plugin: str
    error: str
    again_secs: float | None

    def count(self, metrics: Metrics) -> None:
        metrics.failures.labels(self.plugin).inc()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRetried(Event):
    """A store did not take a batch; the same batch is sent again."""

    level = logging.WARNING
    message = "delivery failed, trying again"
    plugin: str
    error: str
    again_secs: float

    def count(self, metrics: Metrics) -> None:
        metrics.retries.labels(self.plugin).inc()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginHangs(Event):
    """A store has not answered for long. Only its own runner waits; others go on."""

    level = logging.WARNING
    message = "plugin does not return"
    plugin: str
    secs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(Event):
    """Base of what stays in `Telemetry.losses`, and so in `/readyz`, until the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLost(Loss):
    """Stored data that cannot be read any more, or room that was freed below a cursor."""

    level = logging.ERROR
    message = "stored data lost"
    place: str
    amount: int
    reason: str

    def count(self, metrics: Metrics) -> None:
        metrics.lost.labels(self.place).inc(self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageFound(Loss):
    """A place in stored data is not as it should be; if anything was lost by it, DataLost tells and counts that."""

    level = logging.ERROR
    message = "stored data damaged"
    place: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined(Loss):
    """A damaged or foreign file or folder was moved aside."""

    level = logging.ERROR
    message = "damaged data moved to quarantine"
    place: str
    what: str
    kept_as: str
    reason: str

    def count(self, metrics: Metrics) -> None:
        metrics.quarantined.labels(self.place).inc()


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFailed(Event):
    """A group could not be written; senders get 503 until it works again."""

    level = logging.ERROR
    message = "journal cannot be written"
    error: str

    def count(self, metrics: Metrics) -> None:
        metrics.failures.labels("journal").inc()

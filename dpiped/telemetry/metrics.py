"""All metric names, in one list. Prometheus conventions: base units, `_total` for counters."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The metrics of one daemon or collector, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.events_in = Counter("dpipe_input_events", "Events accepted", ["plugin"], registry=registry)
        self.bytes_in = Counter("dpipe_input_bytes", "Canonical bytes accepted", ["plugin"], registry=registry)
        self.packs_in = Counter("dpipe_input_packs", "Packs appended", ["plugin"], registry=registry)
        self.events_out = Counter(
            "dpipe_runner_events", "Events a filter read or an output delivered", ["plugin"], registry=registry
        )
        self.packs_out = Counter(
            "dpipe_runner_packs", "Packs a filter read or an output delivered", ["plugin"], registry=registry
        )
        self.rejected = Counter(
            "dpipe_rejected_events", "Events put into the dead letter", ["plugin"], registry=registry
        )
        self.dropped = Counter(
            "dpipe_dropped_events", "Events given up, by reason", ["plugin", "reason"], registry=registry
        )
        self.noted = Counter(
            "dpipe_noted_events",
            "Events with something worth counting, such as time_corrected",
            ["plugin", "what"],
            registry=registry,
        )
        self.failures = Counter("dpipe_plugin_failures", "Exceptions that left a plugin", ["plugin"], registry=registry)
        self.retries = Counter("dpipe_delivery_retries", "Batches sent again", ["plugin"], registry=registry)
        self.lost = Counter(
            "dpipe_lost_packs",
            "What was stored and can no longer be read: packs, in `state` cursors and snapshots, dead letters",
            ["place"],
            registry=registry,
        )
        self.quarantined = Counter(
            "dpipe_quarantined_files", "Damaged or foreign files and folders moved aside", ["place"], registry=registry
        )
        self.duplicates = Counter("dpipe_duplicate_batches", "Batches that came again", ["plugin"], registry=registry)
        self.unavailable = Counter(
            "dpipe_unavailable_answers",
            "Appends refused because the journal took nothing",
            ["plugin"],
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "dpipe_journal_commit_seconds",
            "Write and sync of one group",
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
        )
        self.journal_bytes = Gauge("dpipe_journal_bytes", "Bytes of all segments", registry=registry)
        self.letters = Gauge("dpipe_deadletter_letters", "Refused events that are kept", registry=registry)
        self.letter_bytes = Gauge("dpipe_deadletter_bytes", "Bytes of refused events that are kept", registry=registry)
        self.pool_packs = Gauge("dpipe_pool_packs", "Packs in memory", registry=registry)
        self.pool_bytes = Gauge("dpipe_pool_bytes", "Bytes of packs in memory", registry=registry)
        self.lag_packs = Gauge(
            "dpipe_runner_lag_packs", "Offsets between a cursor and the end", ["plugin"], registry=registry
        )
        self.source_lag = Gauge(
            "dpipe_source_lag_events", "Messages that an input has not read yet", ["plugin"], registry=registry
        )

    def text(self) -> bytes:
        """All metrics in Prometheus text form."""
        return generate_latest(self.registry)

"""What tests of the filter `alarm` share: the filter alone, fed with packs, ticks and restarts by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dpiped.alarms import AlarmingFilter
from dpiped.plugin import PackDraft, PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import emitted, view_of
from dpiped.view import PackView
from dpiped.windows import WindowPolicy
from plugins.filters.alarm import AlarmFilter

AT = 1_700_000_040_000
"""The start of a minute."""
POLICY = WindowPolicy(lateness_ms=2_000, idle_ms=4_000, max_ahead_ms=60_000, tick_ms=1_000)


def build(policy: WindowPolicy = POLICY, **options: Any) -> AlarmFilter:
    config = AlarmFilter.config_class.model_validate(options)
    return AlarmFilter(config, PluginContext(name="al", telemetry=Telemetry(), window=policy))  # type: ignore[arg-type]


def pack_of(plugin: AlarmFilter, offset: int, body: bytes, accepted_ms: int, host: str = "") -> PackView:
    known = {"epoch": "e", "offset": offset, "project": "rs", "ident": "app", "accepted_ms": accepted_ms}
    return view_of(body, plugin.fields(), host=host, **known)


def alarms_of(plugin: AlarmingFilter, state: str | None = None) -> list[dict[str, Any]]:
    """What a question about its alarms gets."""
    return [row for row in plugin.alarms(state) if isinstance(row, dict)]


class World:
    """An alarm with its state as a runner saves it. Times are seconds behind AT."""

    def __init__(self, policy: WindowPolicy = POLICY, **options: Any) -> None:
        self._policy, self._options = policy, options
        self.plugin = build(policy, **options)
        self.now = AT
        self.stored: dict[bytes, bytes] = {}
        self._offset = 0

    def send(self, *events: dict[str, Any], at: float | None = None, host: str = "") -> list[dict[str, Any]]:
        """One pack of events, at their `t` or at `at`, by default now; the alarms that it made."""
        stamps = [AT + round(event.get("t", (self.now - AT) / 1000 if at is None else at) * 1000) for event in events]
        lines = [
            {"@timestamp": stamp, **{name: value for name, value in event.items() if name != "t"}}
            for stamp, event in zip(stamps, events, strict=True)
        ]
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        self._offset += 1
        self.now = max(self.now, *stamps)
        return told(self.plugin.process(pack_of(self.plugin, self._offset, body, self.now, host)))

    def tick(self, secs: int = 1) -> list[dict[str, Any]]:
        """So many seconds pass."""
        alarms = []
        for _ in range(secs):
            self.now += 1_000
            self._offset += 1
            alarms += told(self.plugin.tick(self.now))
        return alarms

    def save(self) -> None:
        for key, value in self.plugin.changes():
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value

    def restart(self) -> None:
        """The daemon is stopped and started."""
        self.save()
        self.plugin = build(self._policy, **self._options)
        self.plugin.restore(sorted(self.stored.items()))

    def command(self, control: str, fingerprint: str, **more: Any) -> None:
        said = {"control": control, "fingerprint": fingerprint, "at_ms": self.now, **more}
        assert list(self.plugin.command(said)) == []

    def noted(self, what: str) -> float:
        """How much was counted under this name."""
        return float(self.plugin.context.telemetry.metrics.noted.labels("al", what)._value.get())

    def dropped(self, reason: str) -> float:
        return float(self.plugin.context.telemetry.metrics.dropped.labels("al", reason)._value.get())


def told(drafts: Iterable[PackDraft]) -> list[dict[str, Any]]:
    """The alarm events in drafts."""
    return [json.loads(line) for draft in emitted(drafts) for line in draft.body.splitlines()]


def states(alarms: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """(state, reason) of each."""
    return [(alarm["state"], alarm["reason"]) for alarm in alarms]

"""Filters without an engine: packs in, emissions out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dpiped import registry
from dpiped.plugin import PAUSE, Filter, PackDraft, PluginContext
from dpiped.telemetry import Telemetry
from dpiped.testing import body_of, view_of
from dpiped.view import PackView
from dpiped.windows import WindowPolicy

AT = 1_700_000_000_000


def build(type_name: str, **config: Any) -> Any:
    plugin_class: Any = registry.get("filter", type_name)
    context = PluginContext(name="flt", telemetry=Telemetry(), window=WindowPolicy(lateness_ms=0))
    return plugin_class(plugin_class.config_class.model_validate(config), context)


def view(plugin: Filter[Any], events: list[dict[str, Any]], where: str = "", **head: Any) -> PackView:
    """A pack; events get `@timestamp` if they have none."""
    events = [{"@timestamp": AT, **event} for event in events]
    known = {"project": "rs", "ident": "app", "accepted_ms": AT, **head}
    return view_of(body_of(events), plugin.fields(), where, **known)


def events_of(drafts: Iterable[PackDraft]) -> list[dict[str, Any]]:
    """What was emitted; checks what each pack says of itself."""
    found = []
    for draft in (draft for draft in drafts if draft is not PAUSE):
        events = [json.loads(line) for line in draft.body.splitlines()]
        stamps = [event["@timestamp"] for event in events]
        assert (draft.count, draft.min_ts, draft.max_ts) == (len(events), min(stamps), max(stamps))
        found += events
    return found


def counted(plugin: Filter[Any]) -> dict[str, float]:
    """All that it dropped or noted, by reason."""
    metrics = plugin.context.telemetry.metrics
    return {
        sample.labels.get("reason") or sample.labels["what"]: sample.value
        for metric in (metrics.dropped, metrics.noted)
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }

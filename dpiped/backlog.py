"""What runners have not read yet, computed outside of the daemon: from segments, cursors and perhaps a config.

Without a config nobody knows what a runner's `match` takes, so all packs count: at most so much is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dpiped.config.schema import DaemonConfig, PluginTable
from dpiped.journal.inspect import Found, Share, by_route
from dpiped.journal.state import RunnerKey, Saved
from dpiped.matcher import Matcher
from dpiped.pack import TICK_IDENT, Head, Route

CARRIES_NO_EVENTS = (TICK_IDENT, "_dpipe.position")
"""Idents of the daemon's own empty packs; to lose one is to lose nothing."""


class Behind(NamedTuple):
    """One runner's place, and what stands between it and the end."""

    key: RunnerKey
    saved: Saved
    share: Share
    exact: bool
    """Its `match` is known; else this is the most it can be."""
    routes: Mapping[Route, Share]


def runner_key(table: PluginTable[Any]) -> RunnerKey:
    """What the state of a table's runner is filed under."""
    return RunnerKey(table.kind, table.name, table.type)


def wants_of(table: PluginTable[Any]) -> Callable[[Route], bool]:
    """Which packs with events go to the runner of a table."""
    matcher = Matcher(table.options.match, table.name)

    def wants(route: Route) -> bool:
        cause = ("", 0) if route.emitted else None
        return matcher.matches(Head(project=route.project, ident=route.ident, only=route.only, cause=cause))

    return wants


def behind(
    segments: list[Found], cursors: Mapping[RunnerKey, Saved], config: DaemonConfig | None, end: int | None = None
) -> list[Behind]:
    """All runners that have a cursor, and those of the config; with what stands from their cursor to `end`. With a
    config, a runner that is not in it holds nothing and is left out.
    """
    tables = {} if config is None else {runner_key(table): table for table in (*config.filters, *config.outputs)}
    keys: Sequence[RunnerKey] = sorted(cursors) if config is None else [key for key in tables if key in cursors]
    found = []
    for key in keys:
        saved = cursors[key]
        wants = wants_of(tables[key]) if key in tables else (lambda route, name=key.name: route.only in ("", name))
        routes = {
            route: share
            for route, share in by_route(segments, saved.cursor, end).items()
            if route.ident not in CARRIES_NO_EVENTS and wants(route)
        }
        total = Share()
        for share in routes.values():
            total.add(share.packs, share.events, share.size)
        found.append(Behind(key, saved, total, key in tables, routes))
    return found

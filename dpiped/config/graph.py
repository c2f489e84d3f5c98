"""Who can give packs to whom: the graph of idents. A pattern counts as every ident it can stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from dpiped.config.schema import DaemonConfig, FilterOptions, InputOptions, PluginTable, TableOptions
from dpiped.matcher import Matcher, parsed
from dpiped.plugin import Filter

Table = PluginTable[TableOptions]


@dataclass(frozen=True)
class Edge:
    """`target` can get packs of `source`, under these idents."""

    source: Table
    target: Table
    idents: tuple[str, ...]


def given_idents(table: PluginTable[InputOptions]) -> tuple[str, ...]:
    """Patterns of what an input gives; a codec may add a last part to the ident."""
    ident = table.options.ident
    return tuple(dict.fromkeys((ident, f"{ident}.*", *table.plugin_class.idents(table.config))))


def emitted_idents(table: PluginTable[FilterOptions]) -> tuple[str, ...]:
    """Patterns of what a filter emits; a pack keeps its project, unless the filter gives it another one."""
    options = table.options
    plugin_class = cast("type[Filter[Any]]", table.plugin_class)
    late = (f"{options.name}.late",) if options.on_late == "emit" else ()
    emitted = (*plugin_class.emitted(table.config, options.ident), *late)
    read = {pattern.project for pattern in Matcher(options.match).patterns} or {""}
    if "" not in read:
        emitted = tuple(one if ":" in one else f"{project}:{one}" for one in emitted for project in sorted(read))
    return tuple(dict.fromkeys(emitted))


def edges(config: DaemonConfig) -> list[Edge]:
    """All ways packs can go, in the order of the config; without disabled inputs."""
    found = []
    targets: tuple[PluginTable[FilterOptions] | Table, ...] = (*config.filters, *config.outputs)
    for source in config.inputs:
        if not source.options.disabled:
            found.extend(_edges(source, given_idents(source), targets, from_input=True))
    for emitter in config.filters:
        found.extend(_edges(emitter, emitted_idents(emitter), targets, from_input=False))
    return found


def _edges(source: Table, idents: tuple[str, ...], targets: tuple[Table, ...], from_input: bool) -> list[Edge]:
    found = []
    for target in targets:
        matcher = Matcher(getattr(target.options, "match", ()))
        wanted = tuple(ident for ident in idents if matcher.can_match(ident, from_input))
        if wanted:
            found.append(Edge(source, target, wanted))
    return found


Node = tuple[str, str]
"""A filter and the project of a pack that it gets; empty: one that the config does not name."""


def find_cycle(config: DaemonConfig) -> list[Table]:
    """Filters that feed each other in a circle, in order; empty if there are none."""
    below = _below(config)
    left = set(below)
    # A filter that nobody feeds is in no circle; take such away until none is left.
    while left:
        feeders = {target: node for node in sorted(left) for target in below.get(node, ())}
        if feeders.keys() >= left:
            names = [name for name, _ in _circle(min(left), feeders)]
            tables = [table for table in config.filters if table.name in names]
            first = names.index(tables[0].name)
            return [next(one for one in tables if one.name == name) for name in names[first:] + names[:first]]
        left &= feeders.keys()
    return []


def _below(config: DaemonConfig) -> dict[Node, list[Node]]:
    """Where packs of each project may go on that a filter makes of those it gets."""
    ways = [
        (emitter.name, given.project, target.name, wanted.project)
        for emitter in config.filters
        for given in map(parsed, emitted_idents(emitter))
        for target in config.filters
        for wanted in Matcher(target.options.match).patterns
        if wanted.overlaps(given)
    ]
    below: dict[Node, list[Node]] = {}
    for project in {"", *(name for _, given, _, wanted in ways for name in (given, wanted))}:
        for source, given, target, wanted in ways:
            after = given or project
            if wanted in ("", after):
                below.setdefault((source, project), []).append((target, after))
    return below


def _circle(start: Node, feeders: dict[Node, Node]) -> list[Node]:
    """Everybody who is left is fed, so going from fed to feeder must come round."""
    way = [start]
    while feeders[way[-1]] not in way:
        way.append(feeders[way[-1]])
    return way[way.index(feeders[way[-1]]) :][::-1]

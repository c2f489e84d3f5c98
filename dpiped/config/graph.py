"""Who can give packs to whom: the graph of idents. A pattern counts as every ident it can stand for."""

from __future__ import annotations

from dataclasses import dataclass

from dpiped.config.schema import DaemonConfig, FilterOptions, InputOptions, PluginTable, TableOptions
from dpiped.matcher import Matcher

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
    """Patterns of what a filter emits."""
    options = table.options
    late = (f"{options.name}.late",) if options.on_late == "emit" else ()
    return tuple(dict.fromkeys((options.ident, *late, *table.plugin_class.idents(table.config))))


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


def find_cycle(config: DaemonConfig) -> list[Table]:
    """Filters that feed each other in a circle, in order; empty if there are none."""
    below: dict[str, list[Table]] = {}
    for edge in edges(config):
        if edge.source.kind == edge.target.kind == "filter":
            below.setdefault(edge.source.name, []).append(edge.target)
    # A filter that nobody feeds is in no circle; take such away until none is left.
    left: dict[str, Table] = {table.name: table for table in config.filters}
    while left:
        fed = {target.name for name in left for target in below.get(name, ())}
        if fed >= left.keys():
            return _walk(next(iter(left.values())), below, left)
        left = {name: table for name, table in left.items() if name in fed}
    return []


def _walk(start: Table, below: dict[str, list[Table]], left: dict[str, Table]) -> list[Table]:
    """One circle: everybody who is left is fed, so going from fed to feeder must come round."""
    feeders = {target.name: left[name] for name in left for target in below.get(name, ())}
    way = [start]
    while feeders[way[-1].name] not in way:
        way.append(feeders[way[-1].name])
    return way[way.index(feeders[way[-1].name]) :][::-1]

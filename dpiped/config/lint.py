"""What no model alone can see: names and addresses used twice, cycles of idents, what can never match, open doors.

Problems are noted in the Source; what is allowed but probably a mistake is returned as warnings.
"""

from __future__ import annotations

from collections.abc import Iterable

from dpiped.codecs.config import CsvCodecConfig
from dpiped.config.base import split_listen
from dpiped.config.doors import bad_certificates, door_warnings, listen_of, open_doors
from dpiped.config.graph import emitted_idents, find_cycle, given_idents
from dpiped.config.schema import (
    WINDOW_KEYS,
    DaemonConfig,
    FilterOptions,
    InputOptions,
    PluginTable,
    RunnerOptions,
    TableOptions,
)
from dpiped.config.source import Source
from dpiped.matcher import OWN_PREFIX, Matcher, Pattern
from dpiped.plugin import Input, PluginContext, StatefulFilter
from dpiped.telemetry import Telemetry

Table = PluginTable[TableOptions]


def lint(config: DaemonConfig, source: Source) -> tuple[str, ...]:
    """Notes problems in `source`; returns warnings, one line each."""
    _Linter(config, source).problems()
    if source.problems:
        return ()
    return tuple(_warnings(config))


def label(table: Table) -> str:
    """How messages name it."""
    return f'[[{table.kind}]] "{table.name}" ({table.type})'


class _Linter:
    def __init__(self, config: DaemonConfig, source: Source) -> None:
        self.config = config
        self.source = source

    def report(self, table: Table, key: str, text: str) -> None:
        """Notes a problem of a table, at the place of a key if the key stands in the file."""
        places = self.source.places.items()
        root = next((path for path, place in places if place == table.place and len(path) == 2), (table.kind,))
        self.source.report((*root, key), f"{label(table)}: {text}")

    def problems(self) -> None:
        config = self.config
        self.presence()
        self.names()
        for table in config.tables:
            self.idents(table)
            if isinstance(table.options, RunnerOptions):
                self.selection(table, table.options)
                for text in table.plugin_class.check_match(table.config, table.options.match):
                    self.report(table, "", text)
            for text in table.plugin_class.check(table.config):
                self.report(table, "", text)
        self.shared()
        self.addresses()
        self.doors()
        if not self.source.problems:
            self.construction()
        if not self.source.problems and (cycle := find_cycle(config)):
            way = " -> ".join(f'"{table.name}"' for table in (*cycle, cycle[0]))
            text = f"packs go round in a circle: {way}; change the `match` or `ident` of one of them"
            self.report(cycle[0], "match", text)

    def construction(self) -> None:
        """The constructor of a plugin does no I/O: what it fails over here it would fail over at the start."""
        telemetry = Telemetry()
        for table in self.config.tables:
            try:
                table.plugin_class(table.config, PluginContext(table.name, telemetry))
            except Exception as exc:  # whatever a plugin raises
                self.report(table, "", f"cannot be made: {type(exc).__name__}: {exc}")

    def presence(self) -> None:
        if not {"input", "filter", "output"} & self.source.data.keys():
            self.source.report((), "there is no [[input]], [[filter]] or [[output]]: nothing would be done")

    def names(self) -> None:
        known: dict[str, Table] = {}
        for table in self.config.tables:
            first = known.setdefault(table.name, table)
            if first is not table:
                text = f'the name "{table.name}" stands already at {first.place} ({first.type})'
                self.report(table, "name", f"{text}; give one of them another `name`")

    def idents(self, table: Table) -> None:
        options = table.options
        if isinstance(options, InputOptions | FilterOptions) and options.ident.split(".")[0] == OWN_PREFIX:
            text = f"idents that begin with {OWN_PREFIX} are the daemon's own"
            self.report(table, "ident", f'key "ident" = "{options.ident}": {text}')
        if isinstance(options, InputOptions):
            self.project(table, "project", options.project)
            self.codec(table, options)
        if isinstance(options, FilterOptions) and not issubclass(table.plugin_class, StatefulFilter):
            for key in WINDOW_KEYS:
                if key in options.model_fields_set:
                    self.report(table, key, f'key "{key}" is only for filters with windows')

    def codec(self, table: Table, options: InputOptions) -> None:
        whole = issubclass(table.plugin_class, Input) and table.plugin_class.emits_whole
        if isinstance(options.codec, CsvCodecConfig) and options.codec.columns is None and not whole:
            text = "csv needs `columns` here, for the data is cut behind any line; a row that repeats them is no event"
            self.report(table, "codec", f'key "codec": {text}')

    def project(self, table: Table, key: str, name: str) -> None:
        names = [project.name for project in self.config.projects]
        if name and names and name not in names:
            self.report(table, key, f'key "{key}": there is no [[project]] "{name}"; there are {", ".join(names)}')

    def selection(self, table: Table, options: RunnerOptions) -> None:
        for text in options.match:
            self.project(table, "match", Pattern(text).project)

    def shared(self) -> None:
        known: dict[tuple[str, str], Table] = {}
        for table in self.config.tables:
            text = table.plugin_class.exclusive(table.config)
            if text is None or table.options.disabled:
                continue
            first = known.setdefault((table.kind, text), table)
            if first is not table:
                self.report(table, "", f'{text} is used already by "{first.name}" at {first.place}')

    def addresses(self) -> None:
        admin = self.config.engine.admin
        taken = [(admin, "tcp", "[engine] admin")]
        for table in self.config.tables:
            listen = listen_of(table)
            if listen is None:
                continue
            protocol = "udp" if getattr(table.config, "transport", "tcp") == "udp" else "tcp"
            for other, other_protocol, name in taken:
                if protocol == other_protocol and _clash(listen, other):
                    self.report(table, "listen", f'key "listen" = "{listen}": {name} listens there already')
            taken.append((listen, protocol, label(table)))

    def doors(self) -> None:
        for table, key, text in (*open_doors(self.config), *bad_certificates(self.config)):
            if table is None:
                self.source.report(("engine", key), f"[engine]: {text}")
            else:
                self.report(table, key, text)


def _clash(one: str, other: str) -> bool:
    (host, port), (other_host, other_port) = split_listen(one), split_listen(other)
    everywhere = {"0.0.0.0", "::"}
    return port != 0 and port == other_port and (host == other_host or bool({host, other_host} & everywhere))


def _warnings(config: DaemonConfig) -> Iterable[str]:
    given = [ident for table in config.inputs for ident in given_idents(table)]
    emitted = [ident for table in config.filters for ident in emitted_idents(table)]
    own = [f"{OWN_PREFIX}.**"]
    for table in (*config.filters, *config.outputs):
        matcher = Matcher(table.options.match)
        wanted = any(matcher.can_match(ident) for ident in given + own)
        if not wanted and not any(matcher.can_match(ident, from_input=False) for ident in emitted):
            yield f"{table.place}: {label(table)}: nothing can ever match {', '.join(table.options.match)}"
    for finding in door_warnings(config):
        where = f"{finding.table.place}: {label(finding.table)}" if finding.table is not None else "[engine]"
        yield f"{where}: {finding.text}"
    for kind in ("input", "output"):
        if not any(table.kind == kind for table in config.tables):
            yield f"there is no [[{kind}]]"
        elif all(table.options.disabled for table in config.tables if table.kind == kind):
            yield f"every [[{kind}]] is disabled"

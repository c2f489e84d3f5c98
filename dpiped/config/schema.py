"""The shape of a daemon's config: what stands in `[engine]`, `[journal]`, `[[project]]`, and the keys that runners own.

The keys of the plugins are in their own models. All defaults are here and there, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, Field

from dpiped.codecs import CodecSpec, TimeConfig
from dpiped.config.base import Bytes, ConfigModel, Ident, Listen, Name, PluginConfig, PositiveSecs, Secs, Token
from dpiped.expressions import check_where
from dpiped.matcher import Pattern, PatternError
from dpiped.tls import SERVER_EXAMPLE, ServerTls

if TYPE_CHECKING:
    from dpiped.config.locate import Place
    from dpiped.plugin import Plugin

MIB = 1 << 20
GIB = 1 << 30
DEFAULT_PROJECT = "default"
"""The project of a config without any `[[project]]`."""

Count = Annotated[int, Field(ge=0)]
Kind = Literal["input", "filter", "output"]


def _check_pattern(text: str) -> str:
    try:
        Pattern(text)
    except PatternError as exc:
        raise ValueError(str(exc)) from exc
    return text


MatchPattern = Annotated[str, AfterValidator(_check_pattern)]
"""An entry of `match`, see dpiped.matcher."""
Where = Annotated[str, AfterValidator(check_where)]
"""A condition on events, see docs/where.md."""


MAX_EVENT_BYTES = 8 * MIB
"""Of one event, where an input says nothing else."""


class EngineConfig(ConfigModel):
    """`[engine]`: the daemon as a whole."""

    admin: Listen = "127.0.0.1:9876"
    """Address of the admin API, the dashboard and /metrics; one that is not loopback needs a token or `client_ca`."""
    admin_token: Token | None = Field(default=None, examples=["${env:DPIPE_ADMIN_TOKEN}"])
    """Bearer token of calls that change something, and of all calls if `admin` is not loopback; write it as
    `${env:NAME}`.
    """
    admin_tokens: tuple[Token, ...] = ()
    """More of them, so that they can be changed one by one."""
    admin_tls: ServerTls | None = Field(default=None, examples=[SERVER_EXAMPLE])
    """Certificate of the admin API; with it, only https is spoken."""
    data_dir: str = "var/dpiped"
    """Folder of journal, state and dead letters; one daemon a folder."""
    cache_bytes: Annotated[Bytes, Field(gt=0)] = 64 * MIB
    """Memory for recent packs, shared by all runners."""
    tick_secs: PositiveSecs = 1.0
    """How often a windowed filter is told the time, and alarms are judged."""
    snapshot_interval_secs: PositiveSecs = 10.0
    """How often the state of filters is saved: so much is computed again after a crash."""
    drain_timeout_secs: Secs = 10.0
    """At a stop, outputs get so long to deliver what was accepted; the rest is delivered after the next start."""
    hang_secs: PositiveSecs = 60.0
    """A filter that computes for longer on one pack ends the process, with its stack in the log."""


class JournalConfig(ConfigModel):
    """`[journal]`: where accepted packs wait until all outputs have delivered them."""

    type: Literal["disk", "memory"] = "disk"
    """"memory" keeps nothing over a stop: for tries, and for inputs that can be replayed."""
    max_bytes: Annotated[Bytes, Field(ge=MIB)] = 8 * GIB
    """Above it, inputs wait or answer 503."""
    keep_secs: Secs = 0.0
    """Packs stay for so long after they were delivered, for replays, within three quarters of `max_bytes`."""
    keep_bytes: Bytes = 0
    """So much of what was delivered stays, for replays, within three quarters of `max_bytes`."""
    min_free_bytes: Bytes | None = Field(default=None, examples=[GIB])
    """Room on the disk that the daemon leaves to others; by default the smaller of 1 GiB and 5 % of the disk."""


class DeadLetterConfig(ConfigModel):
    """`[deadletter]`: where refused events wait until somebody sends them again; the oldest go first, counted."""

    max_bytes: Annotated[Bytes, Field(ge=64 << 10)] = 256 * MIB
    """Above it the oldest are dropped."""
    keep_secs: PositiveSecs = 2_592_000.0
    """Those older than this are dropped."""


class ProjectConfig(ConfigModel):
    """`[[project]]`: a tenant."""

    name: Name = Field(examples=["rs"])
    """Its name in URLs, `match` and paths."""
    index_prefix: Name | Literal[""] = Field(default="", examples=["rs"])
    """Prefix of its index names; by default its name."""
    show_error: bool = True
    """Whether its rejected events are written to the log."""
    logfile: str | None = Field(default=None, examples=["var/log/rs.log"])
    """A log file of its own; by default the daemon's."""
    tokens: tuple[Token, ...] = ()
    """Tokens that may send events to this project, and to no other; write them as `${env:NAME}`."""


class TableOptions(ConfigModel):
    """The keys that every plugin table has."""

    type: str
    """Which plugin."""
    name: Name = Field(examples=["main"])
    """Its name in metrics, logs and state, unique among all plugins; by default its type."""
    disabled: bool = False
    """It does not run. A disabled filter or output keeps its place in the journal, and what it has not read."""


class InputOptions(TableOptions):
    """The keys that the runner of an input owns."""

    project: Name | Literal[""] = Field(default="", examples=["rs"])
    """Project of its packs, unless the sender names one; by default the first `[[project]]`."""
    ident: Ident | Literal[""] = Field(default="", examples=["rs.web"])
    """Ident of its packs, unless the sender names one; by default its name."""
    codec: CodecSpec | None = Field(default=None, examples=["raw"])
    """How its bytes are read: a name such as "json", or a table with `type` and options; by default the input's."""
    time: TimeConfig | None = Field(default=None, examples=[{"field": "ts", "format": "unix"}])
    """Where the time of an event stands, as `{ field = "ts", format = "unix" }`; by default `@timestamp`, else now."""
    keep_old: bool = False
    """Events more than 60 days from now keep their time (als); archives need it."""
    max_event_bytes: Annotated[Bytes, Field(ge=1024)] = MAX_EVENT_BYTES
    """Larger events are rejected: they go to the dead letter."""


class RunnerOptions(TableOptions):
    """The keys that the runners of filters and outputs own."""

    match: tuple[MatchPattern, ...] = ()
    """Patterns of idents: `*` is one part, `**` any number; `PROJECT:PATTERN` for one project only.

    Empty: all that inputs gave, never what filters emit."""
    where: Where | None = Field(default=None, examples=["level >= 4 and host != 'db1'"])
    """Which events of the matching packs, as an expression: `level >= 4 and host != 'db1'`."""
    start: Literal["latest", "earliest"] = "latest"
    """Where a new runner begins: behind what is in the journal now, or at the oldest pack."""
    on_error: Literal["dead_letter", "stop", "retry"] = "dead_letter"
    """What becomes of a pack on which the plugin failed `error_tries` times."""
    error_tries: Annotated[int, Field(ge=1)] = 5
    """How often a pack is tried before `on_error` decides."""


class FilterOptions(RunnerOptions):
    """The keys that the runner of a filter owns; the last four are for filters with windows."""

    ident: Ident | Literal[""] = Field(default="", examples=["stats.traffic"])
    """Ident of the packs it emits; by default its name."""
    lateness_secs: Secs = 5.0
    """How much later than the newest event another may come and still be counted."""
    idle_secs: Secs = 10.0
    """After so long without events the windows are closed whose end has passed."""
    max_ahead_secs: Secs = 60.0
    """Events further in the future than this open no window; they are counted."""
    on_late: Literal["drop", "emit"] = "drop"
    """Events behind their closed window are dropped and counted, or emitted under the ident `NAME.late`."""


WINDOW_KEYS = ("lateness_secs", "idle_secs", "max_ahead_secs", "on_late")
"""Those of FilterOptions that only filters with windows take."""


class BatchOptions(ConfigModel):
    """`batch`: how much an output gets in one call."""

    max_bytes: Annotated[Bytes, Field(gt=0)] = 4 * MIB
    """A batch ends with the pack that reaches it."""
    max_events: Annotated[int, Field(gt=0)] = 20_000
    """A batch ends with the pack that reaches it."""
    max_secs: Secs = 0.0
    """How long a batch that is not full waits for more; 0: what is there goes at once."""


class RetryOptions(ConfigModel):
    """`retry`: what happens when a store does not take a batch. Full jitter."""

    initial_secs: PositiveSecs = 0.5
    """Longest wait before the second try; it doubles from try to try."""
    max_secs: PositiveSecs = 30.0
    """It doubles up to here."""
    attempts: Count = 0
    """After so many tries `on_error` decides; 0: it is tried for ever."""


class OutputOptions(RunnerOptions):
    """The keys that the runner of an output owns."""

    batch: BatchOptions = BatchOptions()
    """How much it gets in one call."""
    retry: RetryOptions = RetryOptions()
    """What happens when the store does not take a batch."""
    metadata: bool = True
    """`_host` and `_source` are written into the events."""
    when_behind: Literal["wait", "skip"] = "wait"
    """When it is too far behind: it holds the journal until inputs wait, or packs are skipped and counted."""
    max_behind_bytes: Bytes = 0
    """Too far behind; 0: when the journal is full."""


OPTIONS: Mapping[str, type[TableOptions]] = {"input": InputOptions, "filter": FilterOptions, "output": OutputOptions}
"""The runner's keys of each kind of plugin table."""


Options = TypeVar("Options", bound=TableOptions, covariant=True)


@dataclass(frozen=True)
class PluginTable(Generic[Options]):
    """One `[[input]]`, `[[filter]]` or `[[output]]`: the runner's keys and the plugin's own, apart."""

    kind: Kind
    options: Options
    plugin_class: type[Plugin[Any]]
    config: PluginConfig
    place: Place
    """Where it stands, for messages."""

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def type(self) -> str:
        return self.options.type


@dataclass(frozen=True)
class DaemonConfig:
    """A checked config; tables in the order of the file. `options.ident`, `options.project` are never empty."""

    engine: EngineConfig
    journal: JournalConfig
    projects: tuple[ProjectConfig, ...]
    inputs: tuple[PluginTable[InputOptions], ...]
    filters: tuple[PluginTable[FilterOptions], ...]
    outputs: tuple[PluginTable[OutputOptions], ...]
    warnings: tuple[str, ...] = ()
    """What is allowed but probably a mistake, one line each."""
    deadletter: DeadLetterConfig = field(default_factory=DeadLetterConfig)

    def tokens_of_projects(self) -> dict[str, frozenset[str]]:
        """project -> tokens that open only it."""
        return {
            project.name: frozenset(token.get_secret_value() for token in project.tokens) for project in self.projects
        }

    @property
    def tables(self) -> tuple[PluginTable[TableOptions], ...]:
        return (*self.inputs, *self.filters, *self.outputs)

"""The plugin kinds. A plugin is a frozen config and a small class; the runner around it owns the rest.

Plugins import all of this from `dpiped.api`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from dpiped.batch import Batch, BatchId
from dpiped.config.base import PluginConfig
from dpiped.view import PackView
from dpiped.windows import WindowPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from dpiped.codecs.base import Codec
    from dpiped.journal.record import Frame
    from dpiped.telemetry import Telemetry

C = TypeVar("C", bound=PluginConfig)


@dataclass(frozen=True, slots=True)
class PackDraft:
    """What a filter emits: a pack to be. Empty `ident`: that of the filter's config."""

    body: bytes
    """Canonical: one object a line, each with `@timestamp`."""
    count: int
    min_ts: int
    max_ts: int
    ident: str = ""
    project: str | None = None
    """None: that of the pack it was made of."""
    host: str | None = None
    source: str | None = None


PAUSE = PackDraft(b"", 0, 0, 0)
"""A filter that computes much gives it now and then between its drafts: it is not emitted, and others may run."""


class Receipt(NamedTuple):
    """What became of data that was emitted; it is durable."""

    accepted: int
    rejected: int = 0
    errors: Sequence[tuple[int, str]] = ()
    """(line from 1, reason) of the first 10 rejected."""
    duplicate: bool = False
    """The batch id was known: nothing was stored anew."""


class Emit(Protocol):
    """How an input hands over what it read."""

    async def __call__(
        self,
        data: bytes,
        *,
        ident: str = "",
        project: str = "",
        source: str = "",
        host: str = "",
        hosts: list[str] | None = None,
        codec: Codec | None = None,
        position: str | None = None,
        batch: BatchId | None = None,
        stored: tuple[str, bytes] | None = None,
        wait: bool = True,
    ) -> Receipt:
        """Decodes and appends; returns when it is durable.

        Empty ident, project and codec: those of the input's config. `host`: the machine it came from; `hosts` instead,
        one for each line, where lines of many peers are mixed. `position`: where the input goes on after this data
        (same transaction as the packs). `stored`: (encoding, compressed bytes) that `data` was made from, kept if the
        body can be had from them.

        Raises:
            UnavailableError: only with `wait=False`: the journal is full or its disk fails; nothing was stored.
            BatchConflictError: the batch id was used for other data.
            CodecError: the data as a whole is unreadable.
        """

    async def frames(self, frames: Sequence[Frame]) -> Receipt:
        """Appends packs as another dpipe sent them; consecutive ones of one batch id are taken whole or not at all.

        Never waits: raises UnavailableError and BatchConflictError as above.
        """


async def _save_nothing(state: bytes) -> None:
    """For plugins that run without an engine."""


@dataclass(frozen=True)
class PluginContext:
    """What a plugin may know of the daemon around it."""

    name: str
    """The name in the config."""
    telemetry: Telemetry
    data_dir: Path | None = None
    """Folder of the daemon."""
    durable: bool = True
    """Whether `saved()` of outputs, and what inputs emit, outlives a stop; false with a memory journal."""
    start_position: str | None = None
    """Inputs: where to go on, as the last durable `position` said; None at the very start."""
    lane: str = ""
    """Outputs: text that names this runner and its generation for ever; part of derived names and streams."""
    codec: Callable[[str], Codec] | None = None
    """Inputs: the codec of a name, with the defaults of this input; raises CodecError for an unknown name."""
    own_codec: Codec | None = None
    """Inputs: the codec that reads what is emitted without one."""
    window: WindowPolicy = field(default_factory=WindowPolicy)
    """Filters with windows: what the runner's keys say of time."""
    save_state: Callable[[bytes], Awaitable[None]] = _save_nothing
    """Outputs: saves and syncs this small state now, with the cursor as it was saved last."""
    projects: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Inputs: the known projects and the tokens that open only them."""
    index_prefix: Callable[[str], str] = str
    """Outputs: the `index_prefix` of a project, as the config says now."""


class Plugin(Generic[C]):
    """Base of all kinds. The constructor stores and does no I/O."""

    type_name: ClassVar[str]
    config_class: ClassVar[type[PluginConfig]]
    kind: ClassVar[str]

    def __init__(self, config: C, context: PluginContext) -> None:
        self.config = config
        self.context = context

    @classmethod
    def check(cls, config: C) -> list[str]:
        """Problems that no single field shows, one line each; called by `check` and at start, no I/O."""
        return []

    @classmethod
    def notes(cls, config: C) -> list[str]:
        """What `check` should tell the user of this config though it is right, one line each; no I/O."""
        return []

    @classmethod
    def check_match(cls, config: C, match: Sequence[str]) -> list[str]:
        """The same of the runner's key `match`, for plugins that cannot do with any."""
        return []

    @classmethod
    def exclusive(cls, config: C) -> str | None:
        """What no two plugins may share, such as the path they write to; two with equal texts are a config error."""
        return None

    @classmethod
    def idents(cls, config: C) -> Iterable[str]:
        """Patterns of idents it may give to packs, beside the one of its table; `**` when they come from outside."""
        return ()

    def renew(self) -> bool:
        """At a reload that left its table as it was: takes files anew that its config names, such as certificates.
        Called at any time, also before `open`; must not block. False: it has to be started again. Raises DpipeError
        when they cannot be used; it goes on with what it has.
        """
        return True

    def status(self) -> dict[str, object]:
        """What `/admin/stat` shows of this plugin beside what its runner knows: real addresses, open files, .."""
        return {}


class Input(Plugin[C], ABC):
    """Reads events from outside."""

    kind = "input"
    replayable: ClassVar[bool] = False
    """Whether it goes on from `context.start_position`, so that nothing enters twice."""
    default_codec: ClassVar[str] = "json"
    emits_whole: ClassVar[bool] = False
    """Whether it emits data as the sender made it, such as the body of a request: not cut behind any line."""
    default_keep_old: ClassVar[bool] = False
    """What `keep_old` is when the config does not say it."""

    @property
    def unread(self) -> int:
        """How many of its sources could not be read to their end; asked when `run` has returned. Some: the daemon
        ends with exit status 4.
        """
        return 0

    @classmethod
    def idents(cls, config: C) -> Iterable[str]:
        """As in Plugin; an input whose senders cannot name idents overrides it with `()`."""
        return ("**",)

    async def open(self) -> None:
        """Binds or connects; called before `run`. TemporaryError: tried again; FatalPluginError: the daemon does not
        start.
        """

    @abstractmethod
    async def run(self, emit: Emit) -> None:
        """Called once; reads until cancelled. Returning means the end of the input (batch mode)."""

    async def close(self) -> None:
        """Releases everything; called once, also after a failure."""


class Filter(Plugin[C], ABC):
    """Makes packs of packs; CPU only, no I/O, called on the event loop with one pack at a time."""

    kind = "filter"
    stateful: ClassVar[bool] = False

    @classmethod
    def default_ident(cls, name: str) -> str:
        """The ident of what it emits where the config gives none; `name` is that of its table."""
        return name

    @classmethod
    def emitted(cls, config: C, ident: str) -> Iterable[str]:
        """Patterns of the idents of all it emits; `ident` is that of its table. `PROJECT:PATTERN` where it gives packs
        this project; else they keep the one of what they were made of.
        """
        return (ident, *cls.idents(config))

    def fields(self) -> Iterable[str]:
        """Which fields `process` reads, without those of `where`. Asked once, at start."""
        return ()

    async def open(self) -> None:
        """Reads the files that its config names, in a thread; called before the first pack. Raises TemporaryError to
        be tried again.
        """

    @abstractmethod
    def process(self, pack: PackView) -> Iterable[PackDraft]:
        """0..n packs out, and `PAUSE`. Must be a function of what it read: no clock, no random. Repeated after a
        crash.
        """


class StatefulFilter(Filter[C], ABC):
    """A filter with a state that survives a crash exactly.

    The law: restore(all changes so far) and any further packs give the same answers, and taking changes alters nothing.
    """

    stateful = True

    def tick(self, now_ms: int) -> Iterable[PackDraft]:
        """Called for each journaled tick; `now_ms` is the time in it, never the clock."""
        return ()

    def finish(self) -> Iterable[PackDraft]:
        """Batch mode: all inputs have ended and everything was read; close what is open. Emitted as if by the last
        pack.
        """
        return ()

    def reset(self) -> None:
        """Empties the state, as an operator asked; called for a journaled control pack, so that a replay does the
        same.
        """

    def command(self, said: dict[str, Any]) -> Iterable[PackDraft]:
        """What an operator says by a journaled control pack of the filter's own, so that a replay does the same:
        `{"control": .., ..}`. What it does not know changes nothing.
        """
        return ()

    @abstractmethod
    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """(key, value or None = gone) of what changed since the last call. Called every snapshot interval."""

    @abstractmethod
    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Called once, before the first pack, on a fresh object."""

    def fingerprint(self) -> str:
        """Names the keys of the config that shape the state; another fingerprint starts empty."""
        return ""

    def result(self) -> object:
        """What it would answer now, as plain data."""
        return None


class Output(Plugin[C], ABC):
    """Delivers batches to a store."""

    kind = "output"
    takes_metadata: ClassVar[bool] = True
    """Whether it writes bodies with `_host` and `_source` in the events, if its config says so."""
    metadata_names: ClassVar[Mapping[str, str]] = {}
    """Names of `_host` and `_source` in its store, where they cannot be called so."""
    stable_batches: ClassVar[bool] = False
    """Boundaries are saved and synced before `write`, and the same batch comes again after a crash."""
    batch_defaults: ClassVar[Mapping[str, int | float]] = {}
    """Keys of `batch` that have other defaults here, for stores that want few large pieces."""

    def fields(self) -> Iterable[str]:
        """Which fields `write` reads by `view.column`. Asked once, at start; most outputs read none."""
        return ()

    async def open(self, saved: bytes | None) -> None:
        """Connects; `saved` is what `saved()` gave with the cursor. Raises TemporaryError to be tried again."""

    @abstractmethod
    async def write(self, batch: Batch) -> None:
        """Returning means delivered. Cancelled at stop after `drain_timeout_secs`; the batch comes again at the next
        start.

        Raises:
            TemporaryError: the same batch again, with back-off.
            RejectedError: these events to the dead letter, the rest is delivered.
        """

    async def probe(self) -> list[str]:
        """For `check --connect`, instead of `open`: connects, writes nothing, and says what is wrong, one line each;
        `close` is called after it. Raises TemporaryError when nobody answers.
        """
        return []

    async def flush(self) -> None:
        """Makes what `write` took durable; called before the cursor is saved, at most about once a second."""

    def saved(self) -> bytes | None:
        """Small state that is stored in one step with the cursor; None = none."""
        return None

    def due_secs(self) -> float | None:
        """Seconds until it wants `act` to be called, 0 = now, None = never. Asked after every batch and every `act`;
        for outputs that hold events back in `saved()`.
        """
        return None

    async def act(self) -> None:
        """Called when `due_secs` is over, never beside `write`; cursor and `saved()` are stored right before and after.

        Raises:
            TemporaryError: again, with back-off; in between packs are written as ever.
        """

    async def close(self) -> None:
        """Releases everything; called once, also after a failure. `flush` was called before, unless that failed."""

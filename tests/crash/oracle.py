"""The oracle: what was acknowledged is in every output once; emissions and states are as in an undisturbed replay."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpiped.alarms import AlarmingFilter
from dpiped.behavior.scan import Scan
from dpiped.behavior.table import BehaviorTable
from dpiped.config.load import load_daemon_config
from dpiped.deadletter import DeadLetters
from dpiped.journal.disk import DiskStorage
from dpiped.journal.record import Frame
from dpiped.journal.state import RunnerKey, State
from dpiped.leveldb import LevelDb, is_reserved
from dpiped.matcher import Matcher
from dpiped.pack import CONTROL_IDENT, TICK_IDENT, Pack
from dpiped.plugin import PAUSE, PackDraft, PluginContext, StatefulFilter
from dpiped.projection import Projection
from dpiped.telemetry import Telemetry
from dpiped.view import PackView
from dpiped.windows import WindowPolicy
from tests.crash.road import Road

Emission = tuple[int, str, bytes]
"""(offset of the pack that caused it, ident, body)."""


@dataclass
class Verdict:
    """What one output has of what it is owed."""

    output: str
    acked: int
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    """Events that nobody sent."""
    torn: int = 0
    """Lines that are no events."""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.foreign or self.torn)


def judge(road: Road) -> list[Verdict]:
    """Of each output, filter and dead letter; after `Road.finish`."""
    folder = road.folder
    sent: Counter[str] = Counter()
    in_us: Counter[str] = Counter()
    for source in road.sources:
        sent += source.sent
        in_us += source.in_us
    verdicts = [
        _compare("archive", sent, _lines(folder / "archive", "app.*")),
        _compare("packed", sent, _lines(folder / "packed", "app.*")),
        _compare("centre", sent, _lines(folder / "centre", "app.*")),
        _compare("archive copies", in_us, _lines(folder / "archive", "copy.*")),
        _compare("centre copies", in_us, _lines(folder / "centre", "copy.*")),
        _compare("holder", road.log.sent, _lines(folder / "held", "app.*")),
        _compare("sky", sent, _done_in(folder / "edge")),
        _compare("keyed", sent, _values_in(folder / "keyed")),
        _letters(road),
    ]
    return verdicts + _filters(road) if road.journal == "kept" else verdicts


def _compare(name: str, owed: Counter[str], lines: Iterable[bytes]) -> Verdict:
    verdict, found = Verdict(name, owed.total()), Counter[str]()
    for line in lines:
        try:
            found[json.loads(line)["id"]] += 1
        except (ValueError, KeyError):
            verdict.torn += 1
    verdict.lost = (owed - found).total()
    verdict.doubled = sum(count - 1 for name, count in found.items() if name in owed)
    verdict.foreign = sum(count for name, count in found.items() if name not in owed)
    return verdict


def _lines(folder: Path, pattern: str) -> list[bytes]:
    return [line for file in sorted(folder.glob(pattern)) for line in _content(file).split(b"\n") if line]


def _content(file: Path) -> bytes:
    """What is in the file; where its compression is damaged a line that is no event."""
    if file.suffix != ".gz":
        return file.read_bytes()
    pieces = []
    try:
        with gzip.open(file) as stream:
            while piece := stream.read1():
                pieces.append(piece)
    except (OSError, EOFError, zlib.error):
        pieces.append(b"\ndamaged\n")
    return b"".join(pieces)


def _done_in(data_dir: Path) -> list[bytes]:
    """All actions of all users, as lines. What is folded at each start is counted in the same way."""
    table = BehaviorTable(data_dir, "sky", Telemetry(), texts=True)
    try:
        pieces = list(Scan(table).users())
    finally:
        table.close()
    return [json.dumps({"id": rows.actions.values[code]}).encode() for rows in pieces for code in rows.actions.codes]


def _values_in(folder: Path) -> list[bytes]:
    store = LevelDb(folder)
    try:
        return [value for key, value in store.scan(b"") if not is_reserved(key)]
    finally:
        store.close()


def _letters(road: Road) -> Verdict:
    """Every bad line of an acknowledged batch is in the dead letter once."""
    letters = DeadLetters(LevelDb(road.folder / "edge" / "deadletter"), Telemetry())
    try:
        found = Counter(letter.raw for letter in letters.scan())
    finally:
        letters.close()
    bad: Counter[bytes] = Counter()
    for source in road.sources:
        bad += source.bad
    return Verdict(
        "dead letter", bad.total(), lost=(bad - found).total(), doubled=sum(count - 1 for count in found.values())
    )


# ---- filters: an undisturbed replay of the journal -------------------------------------------------------------------
def _filters(road: Road) -> list[Verdict]:
    storage = DiskStorage(road.folder / "edge" / "journal")
    storage.open()
    frames, _ = storage.read(0, lambda _: True, 1 << 40)
    storage.close()
    assert frames[0].head.offset == 0, "the journal was freed"
    state = State(LevelDb(road.folder / "edge" / "state"))
    state.open()
    config = load_daemon_config(road.folder / "edge.toml")
    verdicts = []
    for table in config.filters:
        filter_ = _Replayed(table, frames)
        stored = [
            (frame.head.cause[1], frame.head.ident, _body(frame))
            for frame in frames
            if frame.head.cause is not None and frame.head.cause[0] == table.name
        ]
        verdicts.append(_same(f"emissions of {table.name}", filter_.emissions, stored))
        if isinstance(filter_.plugin, StatefulFilter):
            snapshot = state.snapshot(RunnerKey("filter", table.name, table.type))
            verdicts.append(_same(f"state of {table.name}", filter_.result(), filter_.result_of(snapshot)))
            name = f"{table.options.ident}.ndjson"
            told = b"".join(body for _, _, body in stored)
            for output in ("archive", "centre"):
                kept = (road.folder / output / name).read_bytes() if told else b""
                verdicts.append(_same(f"{name} in {output}", told.splitlines(), kept.splitlines()))
    state._database.close()
    return verdicts


def _same(name: str, owed: list[Any], found: list[Any]) -> Verdict:
    """Both in the same order; where they part, everything behind is counted as lost and as foreign."""
    equal = next((n for n, (a, b) in enumerate(zip(owed, found, strict=False)) if a != b), min(len(owed), len(found)))
    return Verdict(name, len(owed), lost=len(owed) - equal, foreign=len(found) - equal)


def _body(frame: Frame) -> bytes:
    pack = Pack()
    pack.fill(frame.head, frame.body, None)
    return pack.body


class _Replayed:
    """A fresh filter after all packs of a journal."""

    def __init__(self, table: Any, frames: Iterable[Frame]) -> None:
        self._table = table
        self.plugin = self._make()
        self.emissions: list[Emission] = []
        matcher, stateful = Matcher(table.options.match, table.name), isinstance(self.plugin, StatefulFilter)
        for frame in frames:
            head = frame.head
            if head.ident == TICK_IDENT and stateful:
                self._note(head.offset, self.plugin.tick(head.accepted_ms))
            elif head.ident not in (TICK_IDENT, CONTROL_IDENT) and matcher.matches(head):
                pack = Pack()
                pack.fill(head, frame.body, None)
                view = PackView(pack, Projection.of(self.plugin.fields()))
                self._note(head.offset, self.plugin.process(view))

    def _make(self) -> Any:
        options = self._table.options
        policy = WindowPolicy(
            lateness_ms=round(options.lateness_secs * 1000),
            idle_ms=round(options.idle_secs * 1000),
            max_ahead_ms=round(options.max_ahead_secs * 1000),
            tick_ms=100,
        )
        context = PluginContext(name=self._table.name, telemetry=Telemetry(), window=policy)
        return self._table.plugin_class(self._table.config, context)

    def _note(self, offset: int, drafts: Iterable[PackDraft]) -> None:
        emitted = (draft for draft in drafts if draft is not PAUSE)
        self.emissions += [(offset, draft.ident or self._table.options.ident, draft.body) for draft in emitted]

    def result(self) -> list[bytes]:
        """What its open windows hold."""
        return _held(self.plugin)

    def result_of(self, snapshot: list[tuple[bytes, bytes]]) -> list[bytes]:
        """The same of a saved state."""
        plugin = self._make()
        plugin.restore(snapshot)
        return _held(plugin)


def _held(plugin: Any) -> list[bytes]:
    """What a filter has in its state: alarms as they stand, then what its open windows would give."""
    alarms = plugin.alarms() if isinstance(plugin, AlarmingFilter) else ()
    rows = [json.dumps(row).encode() for row in alarms if row is not PAUSE]
    return rows + [draft.body for draft in plugin.finish() if draft is not PAUSE]

"""What single events tell: they are ignored, are statistics of syslog-ng, have a value that was never seen, or each is
an alarm by itself.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from dpiped.aggregates.plain import hashable, shown, whole
from dpiped.alarms import syslogng
from dpiped.alarms.config import AlarmConfig
from dpiped.alarms.ignore import Ignore
from dpiped.alarms.names import COUNT
from dpiped.alarms.samples import LONGEST
from dpiped.alarms.slices import MANY, Effort
from dpiped.alarms.store import digest_of
from dpiped.alarms.table import Table
from dpiped.alarms.teller import Finding
from dpiped.long_texts import held
from dpiped.panes.shape import Key
from dpiped.plugin import PAUSE, PackDraft
from dpiped.view import PackView

Group = Callable[[Key], dict[str, Any]]


class Single(NamedTuple):
    """An event that is an alarm."""

    finding: Finding
    place: int
    """Which event of the pack."""


class Events:
    """The conditions of one alarm that look at events one by one; None among what they find: others may run."""

    def __init__(self, config: AlarmConfig, group: Group) -> None:
        self._config = config
        self._group = group
        self._ignore = Ignore(config.ignore, config.ignore_field) if config.ignore else None
        self.seen: Table[bytes, bool] = Table()
        """Digests of the values of `new`."""
        self.over_limit = 0
        """Events with values of `new` that nobody can judge, since no more values can be known; whoever counts them
        sets it back.
        """

    def fields(self) -> set[str]:
        """What is read of events."""
        config = self._config
        return {config.ignore_field, config.new or "", config.parser_field if config.parser else ""} - {""}

    def wanted(self, pack: PackView) -> Generator[PackDraft, None, PackView]:
        """The pack without what is ignored."""
        if self._ignore is None:
            return pack
        wanted = pack.only((yield from self._ignore.wanted(pack)))
        yield PAUSE
        return wanted

    def is_statistics(self, pack: PackView) -> list[bool]:
        """Which events are for the parser, shape (pack.count,)."""
        return list(map(syslogng.is_statistics, pack.column(self._config.parser_field)))

    def dropped(self, pack: PackView, keys: Sequence[Key]) -> Iterator[Single | None]:
        """What lines of statistics say was dropped; `pack` holds nothing else."""
        stamps = pack.column("@timestamp")
        effort = Effort()
        for place, text in enumerate(pack.column(self._config.parser_field)):
            if effort.add():
                yield None
            for program, amount in syslogng.dropped(str(text)).items():
                group = {**self._group(keys[place]), "program": program}
                values = {COUNT: amount, "dropped": amount}
                yield self._single(pack, place, stamps[place], "instant", group, values, syslogng.SEVERITY)

    def instant(self, pack: PackView, keys: Sequence[Key]) -> Iterator[Single]:
        """Every event."""
        groups: dict[Key, dict[str, Any]] = {}
        for place, (at, key) in enumerate(zip(pack.column("@timestamp"), keys, strict=True)):
            if key not in groups:
                groups[key] = self._group(key)
            yield self._single(pack, place, at, "instant", groups[key], {COUNT: 1}, self._config.severity)

    def unseen(self, pack: PackView, keys: Sequence[Key], *, learns: bool) -> Iterator[Single | None]:
        """Events with a value that was never seen."""
        assert self._config.new is not None
        values = hashable(whole(pack.column(self._config.new)))
        known: set[Any] = {None}
        stamps = pack.column("@timestamp")
        effort = Effort()
        for place, value in enumerate(values):
            if effort.add():
                yield None
            if value in known:
                continue
            digest = digest_of(value, 16)
            if digest not in self.seen and len(self.seen) >= self._config.max_values:
                self.over_limit += 1  # not among the known: each event of it is counted
                continue
            known.add(value)
            if digest in self.seen:
                continue
            self.seen.put(digest, True)
            if not learns:
                group = {**self._group(keys[place]), self._config.new: held(shown(value))}
                severity = self._config.severity
                yield self._single(pack, place, stamps[place], "new", group, {COUNT: 1}, severity)

    @staticmethod
    def _single(
        pack: PackView, place: int, at: Any, reason: Any, group: dict[str, Any], values: dict[str, Any], severity: int
    ) -> Single:
        return Single(Finding(reason, group, values, at, at + 1, pack.head.project, severity), place)


class InHand:
    """The pack in hand, in parts of MANY events at most; a line is made when somebody asks, with those of its part."""

    def __init__(self, pack: PackView) -> None:
        self.pack = pack
        self.parts = list(pack.slices(MANY))
        self._begins = list(accumulate((part.count for part in self.parts), initial=0))
        self._lines: dict[int, list[bytes]] = {}

    def line(self, place: int) -> bytes:
        """One event, with metadata."""
        part = bisect(self._begins, place) - 1
        if part not in self._lines:
            self._lines[part] = self.parts[part].body_with_metadata().splitlines()
        return self._lines[part][place - self._begins[part]]

    def sample(self, place: int) -> list[bytes]:
        """The same, to be shown; none if it is too long."""
        line = self.line(place)
        return [line] if len(line) <= LONGEST else []

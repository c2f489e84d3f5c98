"""Filter `aggregate`: answers over windows of event time, one event for each group and window.

Delivery: exactly once; what it emits is what an undisturbed run would have emitted, whatever was killed in between.

State, by key:
    c            watermark: [at_ms, newest_ms, idle_ticks], end of the last closed window
    w START(8)   a pane: [[projects], [[group values], [dumps of each metric]] ..]
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, model_validator

from dpiped.api import (
    ConfigModel,
    Count,
    EventsDropped,
    PackDraft,
    PackView,
    PluginConfig,
    StatefulFilter,
    Watermark,
    register,
)

MAX_EMITTED_EVENTS = 5_000
OTHER = "_other"
_START = struct.Struct(">q")
_encode = msgspec.json.Encoder().encode
_TRUE, _FALSE = object(), object()
_BIG_INT = 1
"""Code of the msgpack extension for whole numbers of more than 64 bits."""
_PLAIN = {_TRUE: True, _FALSE: False}

Group = tuple[Any, ...]


class MetricConfig(ConfigModel):
    op: Literal["count"] = "count"
    """What to compute."""


class AggregateConfig(PluginConfig):
    window_secs: Annotated[float, Field(gt=0)] = Field(examples=[60])
    """Length of a window."""
    slide_secs: Annotated[float, Field(gt=0)] | None = None
    """How far apart windows begin; by default they do not overlap. Divides `window_secs`."""
    group_by: tuple[str, ...] = ()
    """Fields whose values part the events; `_host`, `_source`, `_ident` and `_project` too."""
    max_groups: Annotated[int, Field(gt=0)] = 10_000
    """More groups in a window than these are counted together, as `_other`."""
    metrics: dict[str, MetricConfig] = Field(min_length=1, examples=[{"hits": {"op": "count"}}])
    """Name of a field of the answer -> what to compute."""

    @model_validator(mode="after")
    def _check(self) -> AggregateConfig:
        if self.slide_secs is not None and round(self.window_secs * 1000) % round(self.slide_secs * 1000):
            raise ValueError("slide_secs: expected a divisor of window_secs")
        clash = set(self.metrics) & ({"@timestamp", "window_start", "window_end"} | set(self.group_by))
        if clash:
            raise ValueError(f"metrics: the name {min(clash)!r} is taken by another field of the answer")
        return self


class _Pane:
    """What one slide of time has seen, by group."""

    def __init__(self, projects: Iterable[str] = ()) -> None:
        self.projects = set(projects)
        self.groups: dict[Group, list[Count]] = {}


@register("aggregate")
class AggregateFilter(StatefulFilter[AggregateConfig]):
    def __init__(self, config: AggregateConfig, context: Any) -> None:
        super().__init__(config, context)
        self._window = round(config.window_secs * 1000)
        self._slide = round((config.slide_secs or config.window_secs) * 1000)
        self._watermark = Watermark(context.window)
        self._panes: dict[int, _Pane] = {}
        self._closed = -1
        """End of the last closed window."""
        self._changed: set[int] = set()
        self._clock_changed = False

    def fields(self) -> Iterable[str]:
        return self.config.group_by

    def fingerprint(self) -> str:
        config = self.config
        return f"{self._window}/{self._slide}/{config.group_by}/{sorted(config.metrics)}/{config.max_groups}"

    # ---- in --------------------------------------------------------------------------------------------------------
    def process(self, pack: PackView) -> Iterable[PackDraft]:
        head = pack.head
        start = self._pane_of(head.min_ts)
        if (
            pack.whole
            and start == self._pane_of(head.max_ts)
            and start >= self._oldest_open_pane()
            and head.max_ts <= self._watermark.horizon(head.accepted_ms)
        ):  # what most packs are: all in one pane, so that no time has to be looked at
            self._add(start, self._groups(pack), head.project)
            self._watermark.saw(head.max_ts)
            self._clock_changed = True
            return self._close()
        return self._process_by_time(pack)

    def _groups(self, pack: PackView) -> Counter[Group]:
        """How many events of each group."""
        if len(self.config.group_by) == 1:
            column = _hashable(pack.column(self.config.group_by[0]))
            return Counter({(value,): amount for value, amount in Counter(column).items()})
        return Counter(self._rows(pack))

    def _process_by_time(self, pack: PackView) -> list[PackDraft]:
        """Looks at the time of each event: they fall into several panes, or some are late or too far ahead."""
        rows = self._rows(pack)
        stamps: list[int] = pack.column("@timestamp")  # type: ignore[assignment]
        times = [self._pane_of(at) for at in stamps]
        oldest, horizon = self._oldest_open_pane(), self._watermark.horizon(pack.head.accepted_ms)
        late: list[PackDraft] = []
        newest = max(stamps)
        if min(times) < oldest or newest > horizon:
            ahead = [at > horizon for at in stamps]
            is_late = [start < oldest and not far for start, far in zip(times, ahead, strict=True)]
            keep = [not far and not behind for far, behind in zip(ahead, is_late, strict=True)]
            late = self._count_out(pack, stamps, ahead, is_late)
            newest = max((at for at in stamps if at <= horizon), default=-1)
            rows = [row for row, good in zip(rows, keep, strict=True) if good]
            times = [start for start, good in zip(times, keep, strict=True) if good]
        self._count(times, rows, pack.head.project)
        if newest >= 0:
            self._watermark.saw(newest)
            self._clock_changed = True
        return [*late, *self._close()]

    def _rows(self, pack: PackView) -> list[Group]:
        """The group of each event."""
        if not self.config.group_by:
            return [()] * pack.count
        columns = [_hashable(pack.column(name)) for name in self.config.group_by]
        return list(zip(*columns, strict=True))

    def _pane_of(self, at_ms: int) -> int:
        return at_ms - at_ms % self._slide

    def _oldest_open_pane(self) -> int:
        """Start of the oldest pane that belongs to a window which is still open."""
        return -(1 << 62) if self._closed < 0 else self._closed - self._window + self._slide

    def _count_out(self, pack: PackView, stamps: list[int], ahead: list[bool], is_late: list[bool]) -> list[PackDraft]:
        """Counts what is too far ahead, and counts or emits what is late."""
        emits = self._watermark.policy.on_late == "emit"
        for amount, reason in ((sum(ahead), "too_far_ahead"), (0 if emits else sum(is_late), "late")):
            if amount:
                self.context.telemetry.emit(EventsDropped(plugin=self.context.name, amount=amount, reason=reason))
        if not emits or not any(is_late):
            return []
        lines = list(compress(pack.body.splitlines(keepends=True), is_late))
        times = list(compress(stamps, is_late))
        return [PackDraft(b"".join(lines), len(lines), min(times), max(times), ident=f"{self.context.name}.late")]

    def _count(self, panes: Sequence[int], rows: Sequence[Group], project: str) -> None:
        if not rows:
            return
        if min(panes) == max(panes):
            self._add(panes[0], Counter(rows), project)
            return
        by_pane: dict[int, Counter[Group]] = {}
        for (start, row), amount in Counter(zip(panes, rows, strict=True)).items():
            by_pane.setdefault(start, Counter())[row] += amount
        for start, counts in by_pane.items():
            self._add(start, counts, project)

    def _add(self, start: int, counts: Counter[Group], project: str) -> None:
        pane = self._panes.setdefault(start, _Pane())
        pane.projects.add(project)
        self._changed.add(start)
        for group, amount in counts.items():
            metrics = pane.groups.get(group)
            if metrics is None:
                metrics = self._new_group(pane, group)
            for metric in metrics:
                metric.update_rows(amount)

    def _new_group(self, pane: _Pane, group: Group) -> list[Count]:
        if len(pane.groups) >= self.config.max_groups and group:
            group = (OTHER,) * len(group)
            self.context.telemetry.metrics.noted.labels(self.context.name, "group_over_limit").inc()
        return pane.groups.setdefault(group, [Count() for _ in self.config.metrics])

    # ---- time ------------------------------------------------------------------------------------------------------
    def tick(self, now_ms: int) -> Iterable[PackDraft]:
        self._watermark.tick(self._newest_end())
        self._clock_changed = True
        return self._close()

    def finish(self) -> Iterable[PackDraft]:
        self._watermark.close_all(self._newest_end())
        self._clock_changed = True
        return self._close()

    def _newest_end(self) -> int | None:
        """End of the last window that holds data."""
        return max(self._panes) + self._window if self._panes else None

    def _close(self) -> list[PackDraft]:
        """Emits all windows that the watermark has passed, oldest first, and drops panes that no open window needs."""
        drafts: list[PackDraft] = []
        while self._panes:
            end = max(min(self._panes) + self._slide, self._closed + self._slide)
            if end > self._watermark.at_ms:
                break
            drafts += self._emit(end)
            self._closed = end
            for start in [start for start in self._panes if start <= end - self._window]:
                del self._panes[start]
                self._changed.add(start)
        if self._watermark.at_ms >= 0:  # windows without data are closed as well
            self._closed = max(self._closed, self._pane_of(self._watermark.at_ms))
        return drafts

    def _emit(self, end: int) -> list[PackDraft]:
        starts = sorted(start for start in self._panes if end - self._window <= start < end)
        merged: dict[Group, list[Count]] = {}
        projects: set[str] = set()
        for start in starts:
            projects |= self._panes[start].projects
            for group, metrics in self._panes[start].groups.items():
                mine = merged.setdefault(group, [Count() for _ in metrics])
                for total, metric in zip(mine, metrics, strict=True):
                    total.merge(metric)
        lines = [self._event(end, group, metrics) for group, metrics in merged.items()]
        project = min(projects) if len(projects) == 1 else ""
        return [
            PackDraft(b"".join(some), len(some), end, end, project=project, host="", source="")
            for at in range(0, len(lines), MAX_EMITTED_EVENTS)
            if (some := lines[at : at + MAX_EMITTED_EVENTS])
        ]

    def _event(self, end: int, group: Group, metrics: Sequence[Count]) -> bytes:
        event: dict[str, Any] = {"@timestamp": end, "window_start": end - self._window, "window_end": end}
        for name, value in zip(self.config.group_by, group, strict=True):
            if value is not None:
                event[name] = _PLAIN.get(value, value)
        for name, metric in zip(self.config.metrics, metrics, strict=True):
            event[name] = metric.result()
        return _encode(event) + b"\n"

    # ---- state -----------------------------------------------------------------------------------------------------
    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        items: list[tuple[bytes, bytes | None]] = []
        for start in sorted(self._changed):
            pane = self._panes.get(start)
            items.append((b"w" + _START.pack(start), None if pane is None else _dump(pane)))
        if self._clock_changed:
            items.append((b"c", msgspec.msgpack.encode((self._watermark.dumps(), self._closed))))
        self._changed.clear()
        self._clock_changed = False
        return items

    def restore(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            if key == b"c":
                clock, self._closed = msgspec.msgpack.decode(value, type=tuple[tuple[int, int, int], int])
                self._watermark.loads(clock)
            else:
                self._panes[_START.unpack(key[1:])[0]] = _load(value)

    def result(self) -> object:
        return {
            start: {str(group): [metric.result() for metric in metrics] for group, metrics in pane.groups.items()}
            for start, pane in sorted(self._panes.items())
        }


def _hashable(column: list[Any]) -> list[Any]:
    """Values that can be keys of a dict without 1 and true being the same; lists are absent."""
    kinds = set(map(type, column))
    if list in kinds:
        column = [None if isinstance(value, list) else value for value in column]
    if bool in kinds:
        column = [value if type(value) is not bool else _TRUE if value else _FALSE for value in column]
    return column


def _storable(value: Any) -> Any:
    """A group value for msgpack, which knows no whole numbers of more than 64 bits."""
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        return msgspec.msgpack.Ext(_BIG_INT, str(value).encode())
    return _PLAIN.get(value, value)


def _stored(value: Any) -> Any:
    return int(value.data) if isinstance(value, msgspec.msgpack.Ext) else value


def _dump(pane: _Pane) -> bytes:
    groups = [
        ([_storable(value) for value in group], [metric.dumps() for metric in metrics])
        for group, metrics in pane.groups.items()
    ]
    return msgspec.msgpack.encode((sorted(pane.projects), groups))


def _load(value: bytes) -> _Pane:
    projects, groups = msgspec.msgpack.decode(value)
    pane = _Pane(projects)
    for group, metrics in groups:
        pane.groups[tuple(_hashable([_stored(value) for value in group]))] = [Count.loads(data) for data in metrics]
    return pane

"""What filters that answer over windows have in common in the config."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from dpiped.aggregates import AnyMetric
from dpiped.codecs.times import find_zone
from dpiped.config.base import PluginConfig, PositiveSecs, WindowSecs
from dpiped.panes.periods import Calendar, CalendarPeriods, FixedPeriods, Periods

MOST_SLIDES = 10_000
"""In a window: each event is in as many windows, and each of them is told."""
RESERVED = ("@timestamp", "window_start", "window_end", "window_id", "_early", "_errors", "_pane")
"""Fields of an answer beside groups and metrics."""


def _check_zone(name: str) -> str:
    find_zone(name)
    return name


class Telling(NamedTuple):
    """What becomes of answers, beside that those of closed windows are emitted."""

    early_ms: int | None = None
    """How often those of open windows are emitted, too; None: never."""
    with_errors: bool = False
    """Error bounds stand in the event."""
    with_id: bool = False
    """All results of one window and group have the same id."""
    kept_periods: int = 0
    """Of so many closed windows they are kept for questions."""


class GroupedConfig(PluginConfig):
    """Windows, groups and metrics: what is computed, whatever becomes of it."""

    window_secs: WindowSecs = 60
    """Length of a window, aligned to the epoch; or give `window`."""
    slide_secs: WindowSecs | None = Field(default=None, examples=[10])
    """How far apart windows begin; by default they do not overlap. Divides `window_secs`, into 10,000 at most."""
    window: Calendar | None = None
    """A window is an hour, day, week (from Monday) or month of `timezone`, instead of `window_secs`."""
    timezone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    """Where `window` begins and ends: an IANA name such as `Europe/Berlin`."""
    group_by: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Fields whose values part the events; `_host`, `_source`, `_ident` and `_project` too. A text of more than 4,096
    characters becomes its first 1,000, `..` and a hash, here and in `topn`, `first` and `last`.
    """
    max_groups: Annotated[int, Field(gt=0)] = 10_000
    """More groups in a window than these are counted together, as `_other`."""
    metrics: dict[str, AnyMetric] = Field(min_length=1, examples=[{"hits": {"op": "count"}}])
    """Name of a field of the answer -> what to compute; `op` is one of count, sum, min, max, mean, stddev, rate, first,
    last, cardinality, quantiles, topn, histogram, ratio.
    """

    @model_validator(mode="after")
    def _check(self) -> GroupedConfig:
        if self.window is not None and "window_secs" in self.model_fields_set:
            raise ValueError("window: expected only one of window and window_secs")
        if self.window is not None and self.slide_secs is not None:
            raise ValueError("slide_secs: windows of a calendar do not overlap; it is only for window_secs")
        if self.slide_secs is not None and _ms(self.window_secs) % _ms(self.slide_secs):
            raise ValueError("slide_secs: expected a divisor of window_secs")
        if self.slide_secs is not None and _ms(self.window_secs) // _ms(self.slide_secs) > MOST_SLIDES:
            raise ValueError(f"slide_secs: expected at most {MOST_SLIDES:,} of them in window_secs")
        if self.timezone != "UTC" and not self.uses_timezone:
            raise ValueError('timezone: window_secs is cut in UTC; for days of a time zone say window = "day"')
        self._check_names()
        return self

    def _check_names(self) -> None:
        if len(set(self.group_by)) < len(self.group_by):
            raise ValueError("group_by: expected each field once")
        clash = sorted(set(self.metrics) & {*RESERVED, *self.group_by})
        if clash:
            raise ValueError(f"metrics: the name {clash[0]!r} is taken by another field of the answer")
        taken = sorted(set(self.group_by) & set(RESERVED))
        if taken:
            raise ValueError(f"group_by: the name {taken[0]!r} is taken by another field of the answer")

    @property
    def uses_timezone(self) -> bool:
        """Whether it matters what `timezone` says."""
        return self.window is not None

    def shown_windows(self) -> dict[str, object]:
        """How time is cut, for people who ask."""
        if self.window is not None:
            return {"window": self.window, "timezone": self.timezone}
        return {"window_secs": self.window_secs, "slide_secs": self.slide_secs or self.window_secs}

    @property
    def telling(self) -> Telling:
        """What becomes of the answers."""
        return Telling()

    def periods(self) -> Periods:
        """How time is cut."""
        if self.window is not None:
            return CalendarPeriods(self.window, self.timezone)
        return FixedPeriods(_ms(self.window_secs), _ms(self.slide_secs or self.window_secs))


class WindowConfig(GroupedConfig):
    """Windows whose answers are emitted."""

    emit_every_secs: PositiveSecs | None = Field(default=None, examples=[10])
    """Also emit what open windows hold, this often, of the groups that got events; marked by `_early = true`."""
    errors: bool = False
    """Error bounds of the answer stand in the event, as `_errors`: those that are not 0."""
    id: Literal["window", ""] = Field(default="", examples=["window"])
    """`window`: the field `window_id` is the same for all results of one window and group, so that in a store a later
    one takes the place of an early one.
    """
    keep_periods: Annotated[int, Field(ge=0, le=1_000)] = 1
    """So many closed windows are kept for questions about them."""

    @property
    def telling(self) -> Telling:
        every = None if self.emit_every_secs is None else max(1, _ms(self.emit_every_secs))
        return Telling(every, self.errors, self.id == "window", self.keep_periods)


def _ms(secs: float) -> int:
    return round(secs * 1000)

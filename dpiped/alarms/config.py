"""The keys of an alarm, and what can be wrong with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from dpiped.aggregates import AnyMetric
from dpiped.aggregates.base import Where
from dpiped.alarms.early import wants_little
from dpiped.alarms.ignore import check_entry
from dpiped.alarms.names import COUNT, Names, check_when
from dpiped.alarms.title import names_in
from dpiped.config.base import PositiveSecs, Secs
from dpiped.normalise import NormaliseRule
from dpiped.panes.config import GroupedConfig
from dpiped.panes.periods import FixedPeriods, Periods

DAY_SECS = 86_400
TITLE_NAMES = ("alarm", "reason", "severity", "score")
"""What a title may name beside fields of the group and values."""
_OF_WINDOWS = ("slide_secs", "window", "metrics", "when", "change", "yesterday", "last_week", "new", "early")
"""What makes no sense where every event is an alarm."""
_NEEDS = {
    "base": ("change", "yesterday", "last_week"),
    "abnormal_factor": ("change", "yesterday", "last_week"),
    "forget_secs": ("silence_secs",),
    "learn_secs": ("new",),
    "max_values": ("new",),
    "ignore_field": ("ignore",),
    "parser_field": ("parser",),
}
"""Key -> those of which one has to be given with it."""

Growth = Annotated[float, Field(gt=0)]
FieldName = Annotated[str, Field(min_length=1)]


def _check_window(secs: float) -> float:
    if 0 < secs < 0.001:
        raise ValueError("expected 0, or at least 0.001")
    return secs


class AlarmConfig(GroupedConfig):
    """Conditions, of which any makes an alarm, and what becomes of it."""

    window_secs: Annotated[Secs, AfterValidator(_check_window)] = 60
    """Length of a window, aligned to the epoch; or give `window`. 0: there are none, and every event is an alarm."""
    metrics: dict[str, AnyMetric] = Field(
        default={}, examples=[{"latency": {"op": "quantiles", "field": "elapsed", "q": [0.95]}}]
    )
    """Name -> what to compute of the events of a window, as in the filter `aggregate`. `count` is always there."""
    when: Where | None = Field(default=None, examples=["count >= 20"], json_schema_extra={"in_samples": True})
    """Alarm if this holds for the metrics of a window, as `count >= 20 and latency.p95 > 1.5`; in the language of
    `where`.
    """
    change: Growth | None = Field(default=None, examples=[1.5])
    """Alarm if `count` grew by so much since the previous window: 1.5 = by 150 %. Needs `base`."""
    yesterday: Growth | None = Field(default=None, examples=[2.0])
    """The same against the window of the same clock, in `timezone`, a day before."""
    last_week: Growth | None = Field(default=None, examples=[2.0])
    """The same against the window of the same clock seven days before."""
    base: Annotated[int, Field(ge=1)] | None = Field(default=None, examples=[10])
    """Growth counts from this `count` on."""
    abnormal_factor: Annotated[float, Field(ge=1)] = 2.0
    """The score of an alarm by `change`, `yesterday` or `last_week` is multiplied with it."""
    silence_secs: PositiveSecs | None = Field(default=None, examples=[300])
    """Alarm if nothing came from a group for so long that came before."""
    forget_secs: PositiveSecs = 7 * DAY_SECS
    """A group that is silent for so long is not waited for any more."""
    new: FieldName | None = Field(default=None, examples=["country"])
    """Alarm for each value of this field that was never seen."""
    learn_secs: Secs = 0
    """For so long at the beginning the values of `new` are learnt without an alarm."""
    max_values: Annotated[int, Field(gt=0)] = 100_000
    """So many values of `new` are known; those that come when it is full are counted and are no alarms."""
    parser: Literal["syslogng_stats"] | None = None
    """`syslogng_stats`: lines of statistics of syslog-ng are taken out; what they say was dropped on the way to a
    destination is an alarm of severity 1000.
    """
    parser_field: FieldName = "message"
    """Where the text for `parser` stands."""
    early: bool | None = None
    """Windows that are still open are judged at each tick, so that an alarm comes at once; by default they are. With
    a `when` that an almost empty window fulfils, such as `count < 5`, this has to be given.
    """
    normalise: dict[str, tuple[NormaliseRule, ...]] = Field(default={}, examples=[{"message": ["digits", "quoted"]}])
    """Field of `group_by` -> what to take out of its texts, so that equal errors are one group: `digits`, `hex`,
    `uuid`, `quoted`, `email`, or own `{ pattern = "..", replace = ".." }` (RE2).
    """
    ignore: tuple[Annotated[str, AfterValidator(check_entry)], ...] = Field(
        default=(), examples=[["health check", "regex:GET /ping"]]
    )
    """Events with one of these texts in them do not count; behind `regex:` stands a regular expression (RE2)."""
    ignore_field: FieldName | Literal[""] = Field(default="", examples=["message"])
    """Where to look for `ignore`; by default in the whole event, as the line of JSON that it is."""
    severity: Annotated[int, Field(ge=0, le=1_000)] = 10
    """How bad one event is; the score of an alarm is this times `count`."""
    title: Annotated[str, Field(max_length=1_000)] | None = Field(default=None, examples=["{alarm}: {count} errors"])
    """What the alarm is called; `{name}` stands for a field of the group, a metric, `alarm`, `reason`, `severity` or
    `score`.
    """
    throttle_secs: Secs = 60
    """While it goes on it is told again at most so often."""
    resolve_after_secs: Secs = 60
    """When no window fulfilled the conditions for so long, it is resolved."""

    @model_validator(mode="before")
    @classmethod
    def _count(cls, data: Any) -> Any:
        """Adds the metric that is always there."""
        metrics = data.get("metrics", {}) if isinstance(data, dict) else None
        if not isinstance(metrics, dict):
            return data
        if COUNT in metrics:
            raise ValueError("metrics: `count` is always there, the number of events; call this one otherwise")
        return {**data, "metrics": {COUNT: {"op": "count"}, **metrics}}

    @model_validator(mode="after")
    def _check_alarm(self) -> AlarmConfig:
        given = {name for name in self.model_fields_set if getattr(self, name) not in (None, {}, ())}
        if set(self.metrics) == {COUNT}:
            given.discard("metrics")
        for key, others in _NEEDS.items():
            if key in given and not given & set(others):
                raise ValueError(f"{key}: it is for {' and '.join(others)}, and there is none")
        self._check_conditions(given)
        self._check_comparisons()
        names = Names(self.metrics)
        if self.when is not None:
            check_when(self.when, names)
            if self.early is None and wants_little(self.when):
                text = (
                    "it may hold for a window that has only begun; say early = false, or early = true if that is meant"
                )
                raise ValueError(f"when: {text}")
        if self.title is not None:
            program = ("program",) if self.parser else ()
            new = (self.new,) if self.new else ()
            names.check(names_in(self.title), "title", (*TITLE_NAMES, *self.group_by, *program, *new))
        return self

    def _check_conditions(self, given: set[str]) -> None:
        if self.is_instant:
            wrong = [key for key in _OF_WINDOWS if key in given]
            if wrong:
                raise ValueError(f"{wrong[0]}: with window_secs = 0 every event is an alarm; only one of both")
        elif not given & {"when", "change", "yesterday", "last_week", "silence_secs", "new", "parser"}:
            keys = "when, change, yesterday, last_week, silence_secs, new and parser, or window_secs = 0"
            raise ValueError(f"nothing would ever be an alarm: expected at least one of {keys}")
        if self.change is not None and self.base is None:
            raise ValueError("change: it needs base, the count from which growth matters")
        alien = sorted(set(self.normalise) - set(self.group_by))
        if alien:
            raise ValueError(f"normalise: {alien[0]!r} is not in group_by")

    def _check_comparisons(self) -> None:
        longest = {"hour": 3_600, "day": DAY_SECS, "week": 7 * DAY_SECS, "month": 31 * DAY_SECS}
        secs = longest[self.window] if self.window else self.window_secs
        for key, limit in (("yesterday", DAY_SECS), ("last_week", 7 * DAY_SECS)):
            if getattr(self, key) is not None and secs > limit:
                raise ValueError(f"{key}: a window is longer than what lies between")

    @property
    def uses_timezone(self) -> bool:
        return super().uses_timezone or self.yesterday is not None or self.last_week is not None

    @property
    def is_instant(self) -> bool:
        """Every event is an alarm."""
        return self.window is None and self.window_secs == 0

    def periods(self) -> Periods:
        return FixedPeriods(1_000, 1_000) if self.is_instant else super().periods()

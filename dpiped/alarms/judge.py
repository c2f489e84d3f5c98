"""Whether what a window holds is an alarm, and by which condition. Reads; changes nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

from dpiped.alarms.config import AlarmConfig
from dpiped.alarms.history import History
from dpiped.alarms.names import COUNT, Condition, Names
from dpiped.alarms.teller import Reason
from dpiped.panes.answers import Span
from dpiped.panes.shape import Key

_DAYS = {"yesterday": 1, "last_week": 7}


class Verdict(NamedTuple):
    """A window is an alarm."""

    reason: Reason
    """The first that holds of threshold, change, yesterday, last_week."""
    factor: float


class Judge:
    """Of one alarm."""

    def __init__(self, config: AlarmConfig, names: Names) -> None:
        self._config = config
        self._when = Condition(config.when, names) if config.when is not None else None
        self._base = config.base or 1
        self._growth = {"yesterday": config.yesterday, "last_week": config.last_week}
        self.history: History | None = None
        if days := max((_DAYS[name] for name, growth in self._growth.items() if growth is not None), default=0):
            self.history = History(config.periods(), config.timezone, days)

    @property
    def looks_at_windows(self) -> bool:
        """Whether there is a condition for windows at all."""
        return self._when is not None or self._config.change is not None or self.history is not None

    def looks_back(self, values: dict[str, Any]) -> bool:
        """Whether it matters what these values were in the window before."""
        return self._config.change is not None and (values[COUNT] >= self._base or self._is_over(values))

    def _is_over(self, values: dict[str, Any]) -> bool:
        return self._when is not None and self._when.holds(values)

    def verdict(self, span: Span, key: Key, values: dict[str, Any], previous: dict[str, Any] | None) -> Verdict | None:
        """Of a group in a window; `previous` are its values in the window before, None if nobody knows them."""
        reasons: list[Reason] = ["threshold"] if self._is_over(values) else []
        abnormal = self._abnormal(span, key, values[COUNT], previous)
        if not reasons and not abnormal:
            return None
        return Verdict([*reasons, *abnormal][0], self._config.abnormal_factor if abnormal else 1.0)

    def _abnormal(self, span: Span, key: Key, count: int, previous: dict[str, Any] | None) -> list[Reason]:
        if count < self._base:
            return []
        reasons: list[Reason] = []
        change = self._config.change
        if change is not None and previous is not None and _growth(previous[COUNT], count) >= change:
            reasons.append("change")
        if self.history is not None:
            for name in ("yesterday", "last_week"):
                wanted = self._growth[name]
                if wanted is None:
                    continue
                then = self.history.before(span, key, _DAYS[name])
                if then is not None and _growth(then, count) >= wanted:
                    reasons.append(name)
        return reasons


def _growth(before: float, count: int) -> float:
    """Relative: 1.5 is by 150 %. From nothing it counts as from one event."""
    return (count - before) / max(before, 1)

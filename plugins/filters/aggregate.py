"""Filter `aggregate`: answers over windows of event time, one event for each group and window.

Delivery: exactly once; what it emits is what an undisturbed run would have emitted, whatever was killed in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import model_validator

from dpiped.api import (
    FixedPeriods,
    PackDraft,
    PackView,
    Parts,
    Periods,
    Span,
    WindowConfig,
    WindowedFilter,
    encode_pane,
    register,
)


class AggregateConfig(WindowConfig):
    """Those of all filters with windows, and who makes the answers."""

    panes: bool = False
    """Emit what a `merge` filter of another daemon joins, one event for each group and slide, instead of answers."""

    @model_validator(mode="after")
    def _check_panes(self) -> AggregateConfig:
        if self.panes and (self.emit_every_secs is not None or self.id or self.errors):
            raise ValueError(
                "panes: emit_every_secs, id and errors belong to the merge filter, which makes the answers"
            )
        return self


@register("aggregate")
class AggregateFilter(WindowedFilter[AggregateConfig]):
    def make_periods(self) -> Periods:
        periods = super().make_periods()
        if self.config.panes and isinstance(periods, FixedPeriods):  # each pane is emitted once, as its own window
            return FixedPeriods(periods.slide_ms, periods.slide_ms)
        return periods

    def fields(self) -> Iterable[str]:
        return self.shape.fields()

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        columns = self.shape.read(pack, self.context.telemetry, self.context.name)
        late = self.take(pack, self.shape.keys(pack), columns)
        return [*late, *self.close()] if late else self.close()

    def lines(
        self, span: Span, groups: Sequence[tuple[Any, Parts]], secs: float, *, early: bool
    ) -> tuple[list[bytes], list[bytes]]:
        emitted, kept = super().lines(span, groups, secs, early=early)
        if self.config.panes:
            emitted = [
                encode_pane(self.writer.event(span, key), self.shape, pane.of(name)) for key, ((pane, name),) in groups
            ]
        return emitted, kept

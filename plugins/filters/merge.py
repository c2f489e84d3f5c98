"""Filter `merge`: joins the panes that `aggregate` filters of many daemons emit, and answers as one would have.

Its windows, groups and metrics are those of the `aggregate` filters, which have `panes = true`; a pane of another shape
is dropped and counted. Windows close by the time of the panes: give `lateness_secs` and `idle_secs` room for the
slowest daemon.

Delivery: exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dpiped.api import (
    EventsDropped,
    PackDraft,
    PackView,
    PaneError,
    PaneShape,
    Span,
    WindowConfig,
    WindowedFilter,
    decode_pane,
    register,
)

PANE, START = "_pane", "window_start"
"""Fields of a pane's event."""


class MergeConfig(WindowConfig):
    """The same windows, groups and metrics as the `aggregate` filters have."""


@register("merge")
class MergeFilter(WindowedFilter[MergeConfig]):
    def make_shape(self) -> PaneShape:
        return PaneShape(self.config, self.periods.pane_name())

    def fields(self) -> Iterable[str]:
        return {*self.config.group_by, PANE, START}

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        """A pane is late or too far ahead by its start, and its end moves time."""
        spans = [self._span(start) for start in pack.column(START)]
        oldest, horizon = self.oldest, self.horizon(pack.head.accepted_ms)
        late = [span is not None and span[0] < oldest for span in spans]
        ahead = [span is not None and span[0] > horizon for span in spans]
        bad, newest = 0, None
        rows = zip(spans, self.shape.keys(pack), pack.column(PANE), late, ahead, strict=True)
        for span, key, text, is_late, is_ahead in rows:
            if span is None or not (is_late or is_ahead or self._join(span, key, text, pack)):
                bad += 1
            elif not is_ahead:
                newest = span[1] if newest is None else max(newest, span[1])
        if bad:
            dropped = EventsDropped(plugin=self.context.name, amount=bad, reason="not_a_pane_of_this_shape")
            self.context.telemetry.emit(dropped)
        stamps: list[int] = pack.column("@timestamp")  # type: ignore[assignment]
        drafts = self.count_out(pack, stamps, sum(ahead), late)
        self.saw(newest, pack.head.offset)
        return [*drafts, *self.close()] if drafts else self.close()

    def _span(self, start: Any) -> Span | None:
        """The pane that begins there; None if none does."""
        if type(start) is not int:
            return None
        span = self.periods.pane(start)
        return span if span[0] == start else None

    def _join(self, span: Span, key: Any, text: Any, pack: PackView) -> bool:
        """Whether the event was a pane of this shape; then it is joined."""
        try:
            aggregates = decode_pane(text, self.shape)
        except PaneError:
            return False
        touch = pack.head.offset if self.touches else None
        self.note_over(self.pane(span, pack.head.project).merge(key, aggregates, touch))
        return True

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
    WindowConfig,
    WindowedFilter,
    decode_pane,
    register,
)

PANE, START = "_pane", "window_start"


class MergeConfig(WindowConfig):
    pass


@register("merge")
class MergeFilter(WindowedFilter[MergeConfig]):
    def fields(self) -> Iterable[str]:
        return {*self.config.group_by, PANE, START}

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        """A pane's event is judged by the start of its pane, and moves time by its `@timestamp`, the end."""
        head = pack.head
        stamps: list[int] = pack.column("@timestamp")  # type: ignore[assignment]
        starts = [start if type(start) is int else at for start, at in zip(pack.column(START), stamps, strict=True)]
        oldest, horizon = self.oldest, self.horizon(head.accepted_ms)
        late = [start < oldest for start in starts]
        keys, texts = self.shape.keys(pack), pack.column(PANE)
        bad = 0
        for start, key, text, is_late in zip(starts, keys, texts, late, strict=True):
            if not is_late and start <= horizon:
                bad += not self._join(start, key, text, pack)
        if bad:
            dropped = EventsDropped(plugin=self.context.name, amount=bad, reason="not_a_pane_of_this_shape")
            self.context.telemetry.emit(dropped)
        ahead = sum(start > horizon for start in starts)
        drafts = self.count_out(pack, stamps, ahead, late)
        self.saw(
            max((at for at, start in zip(stamps, starts, strict=True) if start <= horizon), default=None), head.offset
        )
        return [*drafts, *self.close()] if drafts else self.close()

    def _join(self, start: int, key: Any, text: Any, pack: PackView) -> bool:
        """Whether the event was a pane of this shape."""
        try:
            aggregates = decode_pane(text, self.shape)
        except PaneError:
            return False
        pane = self.pane(self.periods.pane(start), pack.head.project)
        self.note_over(pane.merge(key, aggregates, pack.head.offset if self.touches else None))
        return True

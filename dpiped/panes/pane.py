"""A pane: what one stretch of time has seen, by group.

Events are gathered as rows for each group and handed to the aggregates many at a time: a call of an aggregate costs far
more than a row. Aggregates do not care how values are cut into calls, so gathering alters no answer. It is bounded: a
group keeps at most MOST_ROWS rows, and a pane that has MOST_GATHERED of all groups together is to be made lighter.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from dpiped.aggregates import Aggregate
from dpiped.panes.shape import Answers, Key, Shape

MOST_ROWS = 96
"""With 10 groups of a pack, more costs more (measured: 660 ns an event with 128, 760 with 256): rows go cold."""
MOST_GATHERED = 65_536
"""About 20 MB of rows."""


class Pane:
    """Not task-safe; belongs to one filter."""

    __slots__ = (
        "_aggregates",
        "_gathered",
        "_heavy",
        "_rows",
        "_shape",
        "changed",
        "end",
        "last_touch",
        "projects",
        "start",
        "stored",
        "touched",
    )

    def __init__(self, shape: Shape, start: int, end: int) -> None:
        self._shape = shape
        self.start = start
        self.end = end
        self.projects: set[str] = set()
        self._rows: dict[Key, list[tuple[Any, ...]]] = {}
        """What was gathered, by group; every group is in it, in the order in which they came."""
        self._aggregates: dict[Key, list[Aggregate]] = {}
        """Of the groups of which something was handed over."""
        self._gathered = 0
        self._heavy: list[Key] = []
        """Groups that have to hand over because all together have gathered much."""
        self.changed: dict[Key, None] = {}
        """Groups that changed since the last snapshot."""
        self.touched: dict[Key, int] = {}
        """Group -> offset of the last pack that it got events of; only kept if the filter asks for it."""
        self.last_touch = -1
        """The newest of these offsets."""
        self.stored = -1
        """How many groups may be in a snapshot; -1: not even the pane itself is."""

    @property
    def groups(self) -> dict[Key, list[tuple[Any, ...]]]:
        """All groups, in the order in which they came."""
        return self._rows

    def add(self, keys: list[Key], columns: Sequence[list[Any]], touch: int | None = None) -> int:
        """Takes events: the group of each and the columns of the shape. Returns how many went to the group of the
        rest.
        """
        distinct = dict.fromkeys(keys)
        over = 0
        if new := [key for key in distinct if key not in self._rows]:
            keys, over = self._admit(new, keys)
            distinct = dict.fromkeys(keys) if over else distinct
        if columns:
            deque(map(list.append, map(self._rows.__getitem__, keys), zip(*columns, strict=True)), 0)
            self._settle(distinct, len(keys))
        else:
            for key, amount in Counter(keys).items():
                self._shape.update(self._of(key), range(amount))  # type: ignore[arg-type]
        self.changed.update(distinct)
        if touch is not None:
            self.touched.update(dict.fromkeys(distinct, touch))
            self.last_touch = touch
        return over

    def _admit(self, new: list[Key], keys: list[Key]) -> tuple[list[Key], int]:
        """Makes groups as long as there is room; returns the keys with the rest renamed, and how many those are."""
        other = self._shape.other
        room = self._shape.max_groups - len(self._rows) + (other in self._rows)
        if not self._shape.group_by:
            room = 1
        for key in new[: max(room, 0)]:
            self._rows[key] = []
        if len(new) <= room:
            return keys, 0
        self._rows.setdefault(other, [])
        known = self._rows
        renamed = [key if key in known else other for key in keys]
        return renamed, sum(key is other for key in renamed)

    def _settle(self, distinct: dict[Key, None], amount: int) -> None:
        """Hands over what has become much."""
        self._gathered += amount
        rows = self._rows
        for key in distinct:
            if len(rows[key]) >= MOST_ROWS:
                self._of(key)
        if self._gathered > MOST_GATHERED and not self._heavy:
            self._heavy = list(rows)

    @property
    def is_heavy(self) -> bool:
        """Whether `lighten` has something to do."""
        return bool(self._heavy)

    def lighten(self, most: int) -> None:
        """Hands over what up to `most` groups have gathered."""
        for key in self._heavy[-most:]:
            if self._rows[key]:
                self._of(key)
        del self._heavy[-most:]

    def forget(self, most: int) -> bool:
        """Frees up to `most` groups of a pane that nobody needs any more; whether there are more."""
        for key in list(islice(reversed(self._rows), most)):
            del self._rows[key]
            self._aggregates.pop(key, None)
        return bool(self._rows)

    def _of(self, key: Key) -> list[Aggregate]:
        """The aggregates of a group, with all that was gathered handed over."""
        aggregates = self._aggregates.get(key)
        if aggregates is None:
            aggregates = self._aggregates[key] = self._shape.new()
        rows = self._rows[key]
        if rows:
            self._shape.update(aggregates, rows)
            self._gathered -= len(rows)
            rows.clear()
        return aggregates

    def of(self, key: Key) -> Sequence[Aggregate]:
        """The aggregates of a group that is there; not to be changed."""
        return self._of(key)

    def answers(self, key: Key, secs: float) -> Answers:
        """What a group says of a window of this length."""
        if key in self._aggregates:
            return self._shape.answers(self._of(key), secs)
        return self._shape.brief_answers(self._rows[key], secs)

    def merge(self, key: Key, other: Sequence[Aggregate], touch: int | None = None) -> int:
        """Takes in what another daemon's pane knows of a group. Returns 1 if it went to the group of the rest."""
        over = 0
        if key not in self._rows:
            (key,), over = self._admit([key], [key])
        for mine, theirs in zip(self._of(key), other, strict=True):
            mine.merge(theirs)
        self.changed[key] = None
        if touch is not None:
            self.touched[key] = self.last_touch = touch
        return over

    def put(self, key: Key, aggregates: list[Aggregate], touched: int | None) -> None:
        """A group as it was stored; called in the order in which groups came."""
        self._rows[key] = []
        self._aggregates[key] = aggregates
        if touched is not None:
            self.touched[key] = touched
            self.last_touch = max(self.last_touch, touched)

    def numbered_changes(self) -> Iterator[tuple[int, Key]]:
        """(number of the group, group) of what changed since the last call, group by group: those that were given are
        settled, also if the caller goes no further.
        """
        if not self.changed:
            return
        for number, key in enumerate(list(self._rows)):
            if key in self.changed:
                del self.changed[key]
                self.stored = max(self.stored, number + 1)
                yield number, key

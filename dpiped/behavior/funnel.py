"""Funnels: how many users came how far on a way of actions, and how long it took them.

What is counted, exactly. The actions of a user are in order of time, and of the journal where times are equal. A user
enters by the first action that is `steps[0]` and whose time is in [from, to). Step k is reached by the first action
that is `steps[k]`, stands behind the one that reached step k - 1, and is at most `within` after the entry; it may lie
behind `to`. Whoever does not reach a step reaches none of the later ones. A user counts once, in the group of the
dimension `by` that the entering action has. The time between two steps is that of the users who reached the later one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dpiped.behavior.columns import Ints
from dpiped.behavior.rows import Rows


@dataclass(slots=True)
class Group:
    """Users that have one value of the dimension, or all of them."""

    users: list[int]
    """How many reached each step."""
    waits: list[list[Ints]] = field(default_factory=list)
    """For each step the milliseconds since the step before, in pieces; none for the first."""

    def medians(self) -> list[float | None]:
        """Median of the milliseconds from the step before, of each step; None where nobody waited."""
        pieces = (np.concatenate(waits) if waits else np.zeros(0) for waits in self.waits)
        return [float(np.median(piece)) if len(piece) else None for piece in pieces]


@dataclass(slots=True)
class Funnel:
    """The answer."""

    total: Group
    groups: dict[str | None, Group]
    """Without `by` none."""


def funnel(
    pieces: Iterable[Rows],
    steps: Sequence[str],
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    within_ms: int | None = None,
    by: str | None = None,
) -> Funnel:
    """Counts, see the module; `pieces` hold all rows from `from_ms` on until `within_ms` after `to_ms`."""
    found = Funnel(_group(len(steps)), {})
    for rows in pieces:
        entries = _entries(rows, steps[0], from_ms, to_ms)
        ways = _ways(rows, entries, steps, within_ms)
        _count(found.total, rows, ways)
        if by is None or not len(entries):
            continue
        column = rows.dim(by)
        for code in np.unique(column.codes[entries]).tolist():
            group = found.groups.setdefault(column.values[code], _group(len(steps)))
            _count(group, rows, [reached[column.codes[reached[:, 0]] == code] for reached in ways])
    return found


def _group(steps: int) -> Group:
    return Group([0] * steps, [[] for _ in range(steps)])


def _entries(rows: Rows, step: str, from_ms: int | None, to_ms: int | None) -> Ints:
    """The row by which each user enters; shape (n_users_that_enter,)."""
    wanted = rows.actions.codes == _code(rows, step)
    if from_ms is not None:
        wanted &= rows.times >= from_ms
    if to_ms is not None:
        wanted &= rows.times < to_ms
    at = np.flatnonzero(wanted)
    users = rows.user_codes[at]
    is_first = np.ones(len(at), bool)
    is_first[1:] = users[1:] != users[:-1]
    return at[is_first]


def _ways(rows: Rows, entries: Ints, steps: Sequence[str], within_ms: int | None) -> list[Ints]:
    """For each step the rows (entry, step before, this step) of those who reached it, shape (n_users, 3)."""
    ways = [np.stack((entries, entries, entries), axis=1)]
    users = rows.user_codes
    for step in steps[1:]:
        entry, before = ways[-1][:, 0], ways[-1][:, 2]
        at = np.flatnonzero(rows.actions.codes == _code(rows, step))
        place = np.searchsorted(at, before, side="right")
        some = place < len(at)
        entry, before, reached = entry[some], before[some], at[place[some]]
        kept = users[reached] == users[entry]
        if within_ms is not None:
            kept &= rows.times[reached] - rows.times[entry] <= within_ms
        ways.append(np.stack((entry[kept], before[kept], reached[kept]), axis=1))
    return ways


def _code(rows: Rows, action: str) -> int:
    return rows.actions.values.index(action) if action in rows.actions.values else -1


def _count(group: Group, rows: Rows, ways: Sequence[Ints]) -> None:
    for step, reached in enumerate(ways):
        group.users[step] += len(reached)
        if step and len(reached):
            group.waits[step].append(rows.times[reached[:, 2]] - rows.times[reached[:, 1]])

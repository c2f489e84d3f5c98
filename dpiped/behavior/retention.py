"""Retention: of the users who came first on a day, how many were there again so many days later.

The first day of a user is the day (UTC) of the oldest action that is stored. Users whose oldest action is in [from, to)
are counted, in the cohort of that day. A user is there on day n if any action is of the day n days after the first; day
0 is therefore everybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from dpiped.behavior.rows import DAY_MS, Rows

Cohorts = dict[int, list[int]]
"""First day (days since 1970) -> users that were there on each of the asked days."""


def retention(
    pieces: Iterable[Rows], days: Sequence[int], *, from_ms: int | None = None, to_ms: int | None = None
) -> tuple[dict[int, int], Cohorts]:
    """(users of each cohort, those who were there again); `pieces` hold all rows from the oldest on."""
    sizes: Counter[int] = Counter()
    there: list[Counter[int]] = [Counter() for _ in days]
    for rows in pieces:
        users = rows.user_codes
        starts = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
        lengths = np.diff(np.append(starts, len(rows)))
        oldest = rows.times[starts]
        wanted = np.ones(len(starts), bool)
        if from_ms is not None:
            wanted &= oldest >= from_ms
        if to_ms is not None:
            wanted &= oldest < to_ms
        first_days = oldest // DAY_MS
        number = np.repeat(np.arange(len(starts)), lengths)
        ages = rows.times // DAY_MS - first_days[number]
        sizes.update(first_days[wanted].tolist())
        for age, counter in zip(days, there, strict=True):
            back = np.zeros(len(starts), bool)
            back[number[ages == age]] = True
            counter.update(first_days[wanted & back].tolist())
    return dict(sizes), {day: [counter[day] for counter in there] for day in sorted(sizes)}

"""What is answered about behavior, as data for JSON, and the same as rows for tables and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec

from dpiped.behavior.funnel import Funnel, Group
from dpiped.behavior.paths import Path
from dpiped.behavior.retention import Cohorts
from dpiped.behavior.table import Size

EVERYBODY, ABSENT = "(all)", "(none)"
_EPOCH = date(1970, 1, 1)


class Table(msgspec.Struct):
    """A table, the output that keeps it, and how much is in it."""

    table: str
    output: str
    status: str
    rows: int | None = None
    """A pack that came again counts twice until it is sorted in."""
    blocks: int | None = None
    first_day: str | None = None
    last_day: str | None = None
    """Days of what is sorted in."""


class Tables(msgspec.Struct):
    """All tables."""

    tables: list[Table]


class Timeline(msgspec.Struct):
    """What a user did, oldest first."""

    table: str
    uid: int | str
    actions: list[dict[str, Any]]
    more: bool
    """There are more than `limit`."""


class Step(msgspec.Struct):
    """Users that came to a step; shares are of those at the step before and at the first."""

    step: int
    action: str
    users: int
    of_previous: float | None
    of_first: float | None
    median_secs: float | None
    """Median time since the step before."""


class FunnelGroup(msgspec.Struct):
    """Users with one value of the dimension; null: they had none."""

    value: str | None
    steps: list[Step]


class FunnelAnswer(msgspec.Struct):
    """All users, and by groups: those with the most users first."""

    table: str
    by: str | None
    within_secs: float | None
    total: list[Step]
    groups: list[FunnelGroup]
    more: bool
    """There are more groups than `limit`."""


class Cohort(msgspec.Struct):
    """Users who came first on a day: how many were there on each of `days`, and as shares."""

    day: str
    users: int
    there: list[int]
    shares: list[float]


class Retention(msgspec.Struct):
    """One cohort a day, oldest first."""

    table: str
    days: list[int]
    cohorts: list[Cohort]


class FoundPath(msgspec.Struct):
    """A sequence, how often it was gone and by how many users."""

    actions: list[str]
    count: int
    users: int


class Paths(msgspec.Struct):
    """The most frequent first."""

    table: str
    length: int
    paths: list[FoundPath]


def table_of(name: str, output: str, status: str, size: Size | None) -> Table:
    """`size`: None where it is not open."""
    if size is None:
        return Table(name, output, status)
    return Table(name, output, status, size.rows, size.blocks, _day(size.first_day), _day(size.last_day))


def _day(number: int | None) -> str | None:
    """As people write it; days that no calendar has as their number."""
    if number is None:
        return None
    try:
        return (_EPOCH + timedelta(days=number)).isoformat()
    except OverflowError:
        return str(number)


def rows_of(items: Iterable[msgspec.Struct]) -> list[dict[str, Any]]:
    """One row each."""
    return [msgspec.structs.asdict(item) for item in items]


def funnel_answer(
    table: str, steps: Sequence[str], by: str | None, within_ms: int | None, limit: int, found: Funnel
) -> FunnelAnswer:
    """At most `limit` groups."""
    groups = sorted(found.groups.items(), key=lambda one: (-one[1].users[0], one[0] is None, one[0] or ""))
    shown = [FunnelGroup(value, _steps(steps, group)) for value, group in groups[:limit]]
    within_secs = None if within_ms is None else within_ms / 1000
    return FunnelAnswer(table, by, within_secs, _steps(steps, found.total), shown, more=len(groups) > limit)


def _steps(actions: Sequence[str], group: Group) -> list[Step]:
    users, first = group.users, group.users[0]
    before = [first, *users[:-1]]
    rows = zip(actions, users, before, group.medians(), strict=True)
    return [
        Step(
            number + 1,
            action,
            count,
            _share(count, previous),
            _share(count, first),
            None if wait is None else wait / 1000,
        )
        for number, (action, count, previous, wait) in enumerate(rows)
    ]


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def funnel_rows(found: FunnelAnswer) -> list[dict[str, Any]]:
    """One row a step; of everybody, then of each group."""
    parts = [(EVERYBODY, found.total)]
    parts += [(ABSENT if group.value is None else group.value, group.steps) for group in found.groups]
    return [
        {**({found.by: value} if found.by else {}), **msgspec.structs.asdict(step)}
        for value, steps in parts
        for step in steps
    ]


def retention_answer(table: str, days: Sequence[int], sizes: dict[int, int], cohorts: Cohorts) -> Retention:
    """Cohorts in order."""
    found = [
        Cohort(_day(day) or "", sizes[day], there, [round(one / sizes[day], 6) for one in there])
        for day, there in cohorts.items()
    ]
    return Retention(table, list(days), found)


def retention_rows(found: Retention) -> list[dict[str, Any]]:
    """One row a cohort, with a column for each age."""
    return [
        {
            "day": cohort.day,
            "users": cohort.users,
            **{f"day_{age}": share for age, share in zip(found.days, cohort.shares, strict=True)},
        }
        for cohort in found.cohorts
    ]


def paths_answer(table: str, length: int, found: Iterable[tuple[Path, int, int]]) -> Paths:
    """In the order in which they come."""
    return Paths(table, length, [FoundPath(list(path), count, users) for path, count, users in found])


def paths_rows(found: Paths) -> list[dict[str, Any]]:
    """One row a path."""
    return [{"path": " > ".join(one.actions), "count": one.count, "users": one.users} for one in found.paths]

"""What may be asked of tables of users' actions."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from dpiped.web.asked import DEFAULT_LIMIT, MOST, AskedForm, Limit, Moment

_SECS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOST_STEPS, MOST_LENGTH, MOST_DAYS = 20, 10, 50
Steps = Annotated[
    str,
    Meta(
        description=f"2 to {MOST_STEPS} actions, joined by commas",
        pattern=rf"^[^,]+(,[^,]+){{1,{MOST_STEPS - 1}}}$",
        max_length=8_192,
    ),
]
WITHIN = Meta(
    description="longest time from the first step to the last, such as `90s`, `12h`, `7d`",
    pattern="^[0-9]{1,6}[smhd]$",
)
Within = Annotated[str, WITHIN]
Days = Annotated[
    str,
    Meta(
        description=f"up to {MOST_DAYS} ages in days, joined by commas",
        pattern=rf"^[0-9]{{1,4}}(,[0-9]{{1,4}}){{0,{MOST_DAYS - 1}}}$",
    ),
]


class FunnelQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which way, and of whom."""

    table: Annotated[str, Meta(description="Name of a table.", min_length=1, max_length=64)]
    steps: Steps
    within: Within | UnsetType = UNSET
    by: (
        Annotated[str, Meta(description="A dimension that divides users.", min_length=1, max_length=1024)] | UnsetType
    ) = UNSET
    since: Moment | UnsetType = field(default=UNSET, name="from")
    to: Moment | UnsetType = UNSET
    limit: Limit = DEFAULT_LIMIT
    format: AskedForm = UNSET

    def steps_asked(self) -> list[str]:
        """In their order."""
        return self.steps.split(",")

    def within_asked_ms(self) -> int | None:
        """Milliseconds."""
        return None if self.within is UNSET else int(self.within[:-1]) * _SECS[self.within[-1]] * 1000


class UserQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Of which time."""

    since: Moment | UnsetType = field(default=UNSET, name="from")
    to: Moment | UnsetType = UNSET
    limit: Limit = DEFAULT_LIMIT
    format: AskedForm = UNSET


class RetentionQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which cohorts, and after how many days."""

    days: Days = "0,1,7,30"
    since: Moment | UnsetType = field(default=UNSET, name="from")
    to: Moment | UnsetType = UNSET
    format: AskedForm = UNSET

    def days_asked(self) -> list[int]:
        """Each once, in their order."""
        return list(dict.fromkeys(int(day) for day in self.days.split(",")))


class PathsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which sequences."""

    length: Annotated[int, Meta(description="Actions of a path.", ge=1, le=MOST_LENGTH)] = 3
    n: Annotated[int, Meta(description="So many of the most frequent ones.", ge=1, le=MOST)] = 20
    since: Moment | UnsetType = field(default=UNSET, name="from")
    to: Moment | UnsetType = UNSET
    format: AskedForm = UNSET

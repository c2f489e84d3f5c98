"""Rows: actions of users as columns in memory. One row is one action.

What a row is, is told by user, time and place in the journal: epoch, offset and line. Of rows that agree in all of
these only the newest counts, so that a pack that is stored again overwrites. They are ordered by the same: users (texts
as Python orders them), then time, then epoch, offset and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from dpiped.behavior.columns import Coded, Ints, joined

DAY_MS = 86_400_000
LINE_BITS = 20
"""A place is offset and line in one number; a pack has fewer than 2^20 lines, since it has fewer bytes."""
BUCKETS = 64
"""Users are spread over so many parts, so that a scan holds one part of a table at a time."""
Users = Ints | Coded[str]
"""The uids themselves, or texts by number."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of equal length; never changed."""

    users: Users
    times: Ints
    """Milliseconds since the epoch."""
    actions: Coded[str]
    epochs: Coded[str]
    places: Ints
    """offset << LINE_BITS | line."""
    dims: dict[str, Coded[str | None]]
    """Kept dimensions; None = absent."""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def user_codes(self) -> Ints:
        """A number that stands for the user of each row."""
        return self.users.codes if isinstance(self.users, Coded) else self.users

    def take(self, rows: Any) -> Rows:
        """Only these rows: numbers of rows, or a mask."""
        users = self.users.take(rows) if isinstance(self.users, Coded) else self.users[rows]
        dims = {name: column.take(rows) for name, column in self.dims.items()}
        actions, epochs = self.actions.take(rows), self.epochs.take(rows)
        return Rows(users, self.times[rows], actions, epochs, self.places[rows], dims)

    def uid(self, row: int) -> int | str:
        """Who did it."""
        code = int(self.user_codes[row])
        return self.users.values[code] if isinstance(self.users, Coded) else code

    def dim(self, name: str) -> Coded[str | None]:
        """A dimension, also one that was not kept when these were stored."""
        return self.dims[name] if name in self.dims else _nothing(len(self))


def _nothing(length: int) -> Coded[str | None]:
    return Coded([None], np.zeros(length, np.int64))


def join(parts: Sequence[Rows]) -> Rows:
    """One behind the other, at least one; what was stored later stands later."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.dims)
    users = [part.users for part in parts]
    texts = [one for one in users if isinstance(one, Coded)]
    return Rows(
        joined(texts) if texts else np.concatenate([one for one in users if not isinstance(one, Coded)]),
        np.concatenate([part.times for part in parts]),
        joined([part.actions for part in parts]),
        joined([part.epochs for part in parts]),
        np.concatenate([part.places for part in parts]),
        {name: joined([part.dim(name) for part in parts]) for name in names},
    )


def ordered(rows: Rows, *groups: NDArray[Any]) -> Rows:
    """In their order; of equal ones the one that stands last. `groups`: by these numbers first, the last one before
    all, which have to be the same for equal rows.
    """
    users = rows.user_codes if not isinstance(rows.users, Coded) else _ranked(rows.users)
    keys: list[Ints] = [rows.places]
    if len(rows.epochs.values) > 1:
        keys.append(_ranked(rows.epochs))
    keys += [rows.times, users]
    order = np.lexsort([*keys, *groups])
    same = np.ones(max(0, len(rows) - 1), bool)
    for key in keys:
        same &= np.diff(key[order]) == 0
        if not same.any():
            break
    else:
        order = order[np.append(~same, True)]
    return rows.take(order)


def _ranked(column: Coded[str]) -> Ints:
    """Numbers that sort as the values do."""
    rank = np.empty(len(column.values), np.int64)
    rank[sorted(range(len(column.values)), key=column.values.__getitem__)] = np.arange(len(column.values))
    return rank[column.codes]


def buckets_of(users: Users) -> Ints:
    """The bucket of each row; the same for a user for ever, since it is part of stored keys."""
    if isinstance(users, Coded):
        of_text = np.array([bucket_of(text) for text in users.values], np.int64)
        return of_text[users.codes] if len(of_text) else users.codes
    mixed = users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # spreads what counts up in steps
    return (mixed >> np.uint64(58)).astype(np.int64)


def bucket_of(uid: int | str) -> int:
    """The same for one user."""
    if isinstance(uid, str):
        return crc32(uid.encode()) % BUCKETS
    return (uid * 0x9E3779B97F4A7C15) % (1 << 64) >> 58

"""Paths: which sequences of actions are the most frequent.

A path is `length` actions of one user that follow each other directly, all with times in [from, to). Paths may overlap:
four actions are two paths of three. Each has the number of times that it was gone, and of the users who went it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dpiped.behavior.columns import Ints, numbering
from dpiped.behavior.rows import Rows
from dpiped.errors import DpipeError

MOST_PATHS = 1_000_000
"""Different ones that are counted; some 200 MB."""
Path = tuple[str, ...]


class TooManyPathsError(DpipeError):
    """They would not fit in memory."""


def paths(pieces: Iterable[Rows], length: int, n: int) -> list[tuple[Path, int, int]]:
    """The `n` most frequent: (path, how often, by how many users). Raises TooManyPathsError."""
    names = numbering()
    counts: dict[tuple[int, ...], list[int]] = {}
    for rows in pieces:
        codes = np.array([names[action] for action in rows.actions.values], np.int64)[rows.actions.codes]
        walkers = rows.user_codes
        if len(rows) < length:
            continue
        begins = np.flatnonzero(walkers[length - 1 :] == walkers[: len(rows) - length + 1])
        if not len(begins):
            continue
        found, kinds = _kinds(codes, begins, length)
        often = np.bincount(kinds, minlength=len(found))
        _, numbers = np.unique(walkers[begins], return_inverse=True)
        pairs = np.unique(numbers * len(found) + kinds)
        by_users = np.bincount(pairs % len(found), minlength=len(found))
        for path, count, who in zip(map(tuple, found.tolist()), often.tolist(), by_users.tolist(), strict=True):
            known = counts.setdefault(path, [0, 0])
            known[0] += count
            known[1] += who
        if len(counts) > MOST_PATHS:
            raise TooManyPathsError(f"more than {MOST_PATHS} different paths: ask for shorter ones, or less time")
    texts = list(names)
    named: list[tuple[Path, int, int]] = [
        (tuple(texts[code] for code in path), count, users) for path, (count, users) in counts.items()
    ]
    return sorted(named, key=lambda one: (-one[1], -one[2], one[0]))[:n]


def _kinds(codes: Ints, begins: Ints, length: int) -> tuple[Ints, Ints]:
    """(the different paths, shape (n_kinds, length); which one begins at each of `begins`)."""
    kinds = codes[begins]
    base = int(codes.max()) + 1
    for step in range(1, length):  # numbered anew after each step, so that they stay small
        _, kinds = np.unique(kinds * base + codes[begins + step], return_inverse=True)
    _, first, kinds = np.unique(kinds, return_index=True, return_inverse=True)
    return np.stack([codes[begins[first] + step] for step in range(length)], axis=1), kinds

"""Tables of users' actions against brute force: any rows, in any packs, stored, repeated and folded at any time."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpiped.behavior import block, table
from dpiped.behavior.block import Place, place_of, settled_key
from dpiped.behavior.columns import Coded, coded, pack, unpack
from dpiped.behavior.funnel import funnel
from dpiped.behavior.paths import paths
from dpiped.behavior.retention import retention
from dpiped.behavior.rows import BUCKETS, DAY_MS, LINE_BITS, Rows, bucket_of, buckets_of, ordered
from dpiped.behavior.scan import Scan
from dpiped.behavior.table import BehaviorTable
from dpiped.behavior.timeline import of_user
from dpiped.telemetry import Telemetry

SOME = settings(max_examples=100, deadline=None)
INTS = st.integers(-(1 << 63), (1 << 63) - 1)
ACTIONS, COUNTRIES = ["a", "b", "c"], ["de", "fr", None]
SPAN_MS = 4 * DAY_MS
HALF_DAYS = st.integers(-2, 8).map(lambda number: number * DAY_MS // 2)
"""Few moments, so that bounds are met exactly."""
NEIGHBOURS: dict[bool, list[Any]] = {
    False: [uid for uid in range(1_000) if bucket_of(uid) == 0][:4],
    True: [f"u{uid}" for uid in range(1_000) if bucket_of(f"u{uid}") == 0][:4],
}
"""Users of one bucket, by whether they are texts: they are read together."""


SPANS = st.tuples(
    st.integers(-2, 2).map(lambda number: number * DAY_MS // 2),
    st.integers(3, 8).map(lambda number: number * DAY_MS // 2),
)
"""(from, to)."""


class Row(NamedTuple):
    """One action, in the order in which rows of a user are."""

    user: int | str
    time: int
    epoch: str
    place: int
    action: str
    country: str | None


def rows_of(rows: list[Row]) -> Rows:
    users = [row.user for row in rows]
    return Rows(
        coded([str(user) for user in users]) if any(isinstance(u, str) for u in users) else np.array(users, np.int64),
        np.array([row.time for row in rows], np.int64),
        coded([row.action for row in rows]),
        coded([row.epoch for row in rows]),
        np.array([row.place for row in rows], np.int64),
        {"country": coded([row.country for row in rows])},
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[str, list[Row]]], bool]:
    """([what is done, with a pack], whether uids are texts)."""
    texts = draw(st.booleans())
    any_name = st.text(min_size=1, max_size=3) if texts else INTS
    names = draw(st.lists(st.sampled_from(NEIGHBOURS[texts]) | any_name, min_size=1, max_size=4, unique=True))
    moments = HALF_DAYS | st.sampled_from([0, DAY_MS, DAY_MS - 1])
    one = st.tuples(st.sampled_from(names), moments, st.sampled_from(ACTIONS), st.sampled_from(COUNTRIES))
    done: list[tuple[str, list[Row]]] = []
    for offset, given_rows in enumerate(draw(st.lists(st.lists(one, min_size=1, max_size=8), min_size=1, max_size=6))):
        epoch = draw(st.sampled_from(["e1", "e2"]))
        rows = [
            Row(user, time, epoch, offset << LINE_BITS | line, action, country)
            for line, (user, time, action, country) in enumerate(given_rows)
        ]
        done.append(("add", rows))
        match draw(st.sampled_from(["nothing", "fold", "repeat", "fold and repeat"])):
            case "fold":
                done.append(("fold", []))
            case "repeat":
                done.append(("add", rows))
            case "fold and repeat":
                done += [("fold", []), ("add", rows)]
    return done, texts


def told(done: list[tuple[str, list[Row]]]) -> dict[int | str, list[Row]]:
    """What each user did, in order, by the simplest means."""
    rows = sorted(
        {row[:4]: row for what, pack_ in done if what == "add" for row in pack_}.values(), key=lambda row: row[1:4]
    )
    users: dict[int | str, list[Row]] = {}
    for row in rows:
        users.setdefault(row.user, []).append(row)
    return users


def stored(folder: str, done: list[tuple[str, list[Row]]], texts: bool) -> BehaviorTable:
    found = BehaviorTable(Path(folder), "t", Telemetry(), texts=texts)
    for what, rows in done:
        if what == "fold":
            found.fold()
        else:
            found.add([(rows[0].epoch, rows[0].place >> LINE_BITS, rows_of(rows))])
    return found


# ---- the questions by brute force ----------------------------------------------------------------------------------
def way_of(rows: list[Row], steps: list[str], since: int, to: int, within: int | None) -> list[Row]:
    """The rows by which a user reached steps."""
    reached: list[Row] = []
    for row in rows:
        if not reached:
            reached += [row] if row.action == steps[0] and since <= row.time < to else []
            continue
        in_time = within is None or row.time - reached[0].time <= within
        if in_time and len(reached) < len(steps) and row.action == steps[len(reached)]:
            reached.append(row)
    return reached


Counts = tuple[list[int], list[float | None]]


def counted(ways: list[list[Row]], steps: list[str]) -> Counts:
    users = [sum(len(way) > step for way in ways) for step in range(len(steps))]
    waits = [[way[k].time - way[k - 1].time for way in ways if len(way) > k] if k else [] for k in range(len(steps))]
    return users, [float(statistics.median(wait)) if wait else None for wait in waits]


@SOME
@given(
    histories(),
    st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=4),
    SPANS,
    st.none() | st.integers(0, 4).map(lambda number: number * DAY_MS // 2),
)
def test_funnels_are_those_of_the_reference(
    history: tuple[list[tuple[str, list[Row]]], bool], steps: list[str], span: tuple[int, int], within: int | None
) -> None:
    since, to = span
    with tempfile.TemporaryDirectory() as folder:
        found_in = stored(folder, *history)
        until = None if within is None else to + within + 1
        pieces = Scan(found_in).users(since, until)
        found = funnel(pieces, steps, from_ms=since, to_ms=to, within_ms=within, by="country")
        found_in.close()
    ways = [way for rows in told(history[0]).values() if (way := way_of(rows, steps, since, to, within))]
    assert (found.total.users, found.total.medians()) == counted(ways, steps)
    groups: dict[str | None, list[list[Row]]] = {}
    for way in ways:
        groups.setdefault(way[0].country, []).append(way)
    assert {name: (one.users, one.medians()) for name, one in found.groups.items()} == {
        name: counted(some, steps) for name, some in groups.items()
    }


@SOME
@given(histories(), SPANS)
def test_retention_is_that_of_the_reference(
    history: tuple[list[tuple[str, list[Row]]], bool], span: tuple[int, int]
) -> None:
    ages = [0, 1, 3]
    with tempfile.TemporaryDirectory() as folder:
        found_in = stored(folder, *history)
        sizes, cohorts = retention(Scan(found_in).users(), ages, from_ms=span[0], to_ms=span[1])
        found_in.close()
    expected: dict[int, list[int]] = {}
    members: Counter[int] = Counter()
    for rows in told(history[0]).values():
        if span[0] <= rows[0].time < span[1]:
            first = rows[0].time // DAY_MS
            members[first] += 1
            days = {row.time // DAY_MS - first for row in rows}
            there = expected.setdefault(first, [0] * len(ages))
            expected[first] = [count + (age in days) for count, age in zip(there, ages, strict=True)]
    assert (sizes, cohorts) == (dict(members), expected)


@SOME
@given(histories(), st.integers(1, 4), st.integers(0, DAY_MS))
def test_paths_are_those_of_the_reference(
    history: tuple[list[tuple[str, list[Row]]], bool], length: int, since: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found_in = stored(folder, *history)
        found = paths(Scan(found_in).users(since, SPAN_MS), length, 1_000)
        found_in.close()
    counts: Counter[tuple[str, ...]] = Counter()
    walkers: Counter[tuple[str, ...]] = Counter()
    for rows in told(history[0]).values():
        names = [row.action for row in rows if since <= row.time < SPAN_MS]
        gone = [tuple(names[at : at + length]) for at in range(len(names) - length + 1)]
        counts.update(gone)
        walkers.update(set(gone))
    assert {path: (count, users) for path, count, users in found} == {p: (counts[p], walkers[p]) for p in counts}
    assert all(one[1] >= other[1] for one, other in pairwise(found))


@SOME
@given(histories())
def test_a_timeline_is_what_the_user_did_and_stays_so(history: tuple[list[tuple[str, list[Row]]], bool]) -> None:
    done, texts = history
    with tempfile.TemporaryDirectory() as folder:
        found_in = stored(folder, done, texts)
        for _ in range(2):  # as it was, then opened again and folded
            for user, rows in told(done).items():
                assert [(one["@timestamp"], one["action"], one["country"]) for one in of_user(found_in, user)] == [
                    (row.time, row.action, row.country) for row in rows
                ]
            found_in.close()
            found_in = BehaviorTable(Path(folder), "t", Telemetry(), texts=texts)
            found_in.fold()
        found_in.close()


# ---- formats -------------------------------------------------------------------------------------------------------
PLACES = st.builds(
    Place,
    st.integers(0, BUCKETS - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 32) - 1),
)


@given(PLACES, PLACES)
def test_keys_sort_as_places_do(one: Place, other: Place) -> None:
    assert place_of(settled_key(one)) == one
    assert (settled_key(one) < settled_key(other)) == (one < other)
    assert block.first_of(one.bucket) <= settled_key(one) < block.behind(one.bucket)
    assert block.first_of(one.bucket, one.day) <= settled_key(one)
    assert one.day == (1 << 31) - 1 or settled_key(one) < block.first_of(one.bucket, one.day + 1)


@given(st.text("ab", max_size=3), st.text("ab", max_size=3), st.integers(0, 1 << 63), st.integers(0, 1 << 63))
def test_fresh_keys_sort_by_epoch_and_offset(one: str, other: str, offset: int, later: int) -> None:
    found = block.fresh_key(one, offset) < block.fresh_key(other, later)
    assert found == ((one, offset) < (other, later))


@given(st.lists(INTS, max_size=20))
def test_columns_come_back(values: list[int]) -> None:
    assert unpack(pack(np.array(values, np.int64))).tolist() == values


@given(
    st.lists(st.tuples(INTS, INTS, st.text(max_size=3), st.text(max_size=2), INTS, st.none() | st.text()), min_size=1)
)
def test_blocks_come_back(given_rows: list[tuple[int, int, str, str, int, str | None]]) -> None:
    rows = rows_of([Row(user, time, epoch, place, action, dim) for user, time, action, epoch, place, dim in given_rows])
    back = block.decode(block.encode(rows), texts=False)
    assert block.encode(back) == block.encode(rows)
    assert [row[0] for row in given_rows] == back.user_codes.tolist()
    assert [row[5] for row in given_rows] == [back.dims["country"].values[at] for at in back.dims["country"].codes]


@given(st.lists(INTS, min_size=1, max_size=20), st.lists(st.text(max_size=4), min_size=1, max_size=20))
def test_a_bucket_is_the_same_in_bulk(numbers: list[int], texts: list[str]) -> None:
    assert buckets_of(np.array(numbers, np.int64)).tolist() == [bucket_of(uid) for uid in numbers]
    assert buckets_of(coded(texts)).tolist() == [bucket_of(uid) for uid in texts]


def test_buckets_are_of_one_size_whatever_users_are_called() -> None:
    for step in (1, 64, 1000, 1 << 40):
        amounts = np.bincount(buckets_of(np.arange(64_000, dtype=np.int64) * step), minlength=BUCKETS)
        assert amounts.min() > 500, step
        assert amounts.max() < 1_500, step


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=30))
def test_of_equal_rows_the_last_stays(given_rows: list[tuple[int, int, int]]) -> None:
    rows = rows_of([Row(u, t, "e", place, str(at), None) for at, (u, t, place) in enumerate(given_rows)])
    last = {row: str(at) for at, row in enumerate(given_rows)}
    found = ordered(rows)
    shown = zip(found.user_codes.tolist(), found.times.tolist(), found.places.tolist(), strict=True)
    names = [found.actions.values[code] for code in found.actions.codes]
    assert list(zip(shown, names, strict=True)) == sorted(last.items())


def test_a_scan_is_small_beside_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table, "SMALL_ROWS", 1)
    found_in = BehaviorTable(tmp_path, "t", Telemetry(), texts=False)
    none = np.zeros(6_400, np.int64)
    one = Coded(["a"], none)
    rows = Rows(np.arange(6_400), none, one, Coded(["e"], none), np.arange(6_400), {})
    found_in.add([("e", 0, rows)])
    found_in.fold()
    sizes = [len(piece) for piece in Scan(found_in).users()]
    assert (len(sizes), sum(sizes)) == (BUCKETS, 6_400)
    found_in.close()

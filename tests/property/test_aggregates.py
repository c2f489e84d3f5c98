"""Every op: merging parts in any order gives what one pass gives, dumps and loads are inverse, bounds are kept."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dpiped.aggregates import METRICS, Aggregate, AnyMetric, Columns, Metric
from dpiped.testing import view_of

_metrics: TypeAdapter[Any] = TypeAdapter(AnyMetric)
NUMBERS = st.lists(st.integers(-(10**6), 10**6) | st.none(), max_size=60)
PARTS = st.lists(NUMBERS, min_size=1, max_size=5)
OPTIONS: dict[str, dict[str, Any]] = {
    "histogram": {"bounds": [0, 10, 100]},
    "ratio": {"where": "a > 1"},
    "count": {},
    "rate": {},
}
ORDERED = ("first", "last")
"""They depend on the order by their meaning."""


def metric(op: str, **more: Any) -> Metric:
    options = {"op": op, **OPTIONS.get(op, {"field": "a"}), **more}
    if "field" in METRICS[op].model_fields:
        options.setdefault("field", "a")
    return _metrics.validate_python(options)


def column(found: Metric, values: list[Any]) -> Any:
    """What the filter hands to an aggregate for events with these values of `a`."""
    if not values:
        return []
    lines = [b'{"@timestamp":1700000000000,"a":%b}\n' % msgspec.json.encode(value) for value in values]
    wanted = found.column()
    view = view_of(b"".join(lines), found.fields())
    return values if wanted is None else Columns(view).read(wanted)


def made(found: Metric, *parts: list[Any]) -> Aggregate:
    """One aggregate that has seen all parts."""
    one = found.new()
    for part in parts:
        one.update(column(found, part))
    return one


def stored(found: Metric, one: Aggregate) -> Aggregate:
    """What comes back after a restart."""
    again = found.new()
    again.loads(msgspec.msgpack.decode(msgspec.msgpack.encode(one.dumps())))
    return again


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def test_every_op_can_be_made() -> None:
    assert {op for op in METRICS if metric(op).new() is not None} == set(METRICS)


UNORDERED = [op for op in METRICS if op not in ORDERED]


@pytest.mark.parametrize("op", UNORDERED)
@settings(max_examples=60, deadline=None)
@given(parts=PARTS)
def test_parts_merged_in_any_order_are_the_whole(op: str, parts: list[list[Any]]) -> None:
    found = metric(op)
    whole = made(found, *parts)
    for order in (parts, parts[::-1]):
        merged = found.new()
        for part in order:
            merged.merge(made(found, part))
        assert same(merged.result(10.0), whole.result(10.0))


@pytest.mark.parametrize("op", UNORDERED)
@settings(max_examples=60, deadline=None)
@given(parts=PARTS, more=NUMBERS)
def test_a_restart_changes_nothing(op: str, parts: list[list[Any]], more: list[Any]) -> None:
    found = metric(op)
    whole = made(found, *parts)
    before = msgspec.msgpack.encode(whole.dumps())
    again = stored(found, whole)
    assert msgspec.msgpack.encode(whole.dumps()) == before, "to store it changes nothing"
    whole.update(column(found, more))
    again.update(column(found, more))
    assert whole.result(10.0) == again.result(10.0)
    assert msgspec.msgpack.encode(whole.dumps()) == msgspec.msgpack.encode(again.dumps())


@pytest.mark.parametrize("op", UNORDERED)
@settings(max_examples=40, deadline=None)
@given(values=NUMBERS, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_it_does_not_matter_how_values_are_cut_into_updates(op: str, values: list[Any], cuts: list[int]) -> None:
    found = metric(op)
    places = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    pieces = [values[a:b] for a, b in pairwise(places)]
    assert made(found, *pieces).dumps() == made(found, values).dumps()


@pytest.mark.parametrize("amount", [10, 1_000, 20_000])
@pytest.mark.parametrize("seed", range(3))
def test_cardinality_keeps_its_bound(amount: int, seed: int) -> None:
    found = metric("cardinality")
    values = [f"user {seed} {number}" for number in range(amount)]
    one = made(found, *(values[at : at + 500] * 2 for at in range(0, amount, 500)))
    assert abs(one.result() - amount) <= (0 if amount <= 1_000 else 3 * 0.01 * amount)


@pytest.mark.parametrize("name", ["log-normal", "zipf", "sorted", "constant", "negative and zero"])
def test_quantiles_are_within_half_a_percent(name: str) -> None:
    chance = random.Random(name)
    values: list[float] = {
        "log-normal": lambda: [chance.lognormvariate(0, 2) for _ in range(20_000)],
        "zipf": lambda: [float(int(chance.paretovariate(1.1))) for _ in range(20_000)],
        "sorted": lambda: [n / 7 for n in range(20_000)],
        "constant": lambda: [3.75] * 5_000,
        "negative and zero": lambda: [chance.choice((0.0, -chance.random() * 100)) for _ in range(20_000)],
    }[name]()
    found = metric("quantiles", q=[0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0])
    merged = found.new()
    for at in range(0, len(values), len(values) // 16):
        merged.merge(made(found, values[at : at + len(values) // 16]))
    exact = sorted(values)
    for q, value in zip((0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0), merged.result().values(), strict=True):
        rank = q * (len(exact) - 1)
        low, high = exact[math.floor(rank)], exact[math.ceil(rank)]
        assert low - abs(low) * 0.005 - 1e-9 <= value <= high + abs(high) * 0.005 + 1e-9, q


def test_top_lists_find_the_frequent_ones_within_their_bound() -> None:
    chance = random.Random(5)
    values = [f"page {min(int(chance.paretovariate(1.1)), 100_000)}" for _ in range(100_000)]
    found = metric("topn", n=10)
    merged = found.new()
    for at in range(0, len(values), 10_000):
        merged.merge(made(found, values[at : at + 10_000]))
    exact = Counter(values)
    top = merged.result()
    wanted = {value for value, _ in exact.most_common(10)}
    assert len(wanted & {line["value"] for line in top}) >= 10 * 0.98 - 1
    assert all(0 <= line["count"] - exact[line["value"]] <= merged.error for line in top)


def test_a_top_list_is_stored_however_much_its_values_weigh() -> None:
    """What was purged of heavy values is more than a number of 64 bits holds."""
    found = metric("topn", by="w", n=3)
    one = found.new()
    for start in range(0, 20_000, 1_000):
        one.update([(value, (1 << 63) - 1) for value in range(start, start + 1_000)])
    assert one.error > 1 << 64
    again = stored(found, one)
    assert (again.result(), again.error, again.dumps()) == (one.result(), one.error, one.dumps())


@given(st.sampled_from(sorted(METRICS)), NUMBERS)
def test_a_brief_answer_is_the_answer(op: str, values: list[Any]) -> None:
    found = metric(op)
    full = made(found, values)
    assert found.brief()(column(found, values), 7.0) == (full.result(7.0), full.error)

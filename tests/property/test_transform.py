"""`transform` against a plain reference on dicts: any events, any order of steps; what no step names never changes."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.transform.kit import AT, change, program_of

NAMES = ["a", "b", "a.b", "b.a", "é", "x/y", 'q"', "a_rg", "n"]
PATHS = ["a", "b", "a.b", "b.a", "a.b.n", "é", "x/y", "n", "a_rg"]
plain_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["5", "-1", "5.5", "ü7"]),
    st.lists(st.integers(0, 9), max_size=3),
)
values = st.recursive(
    plain_values, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=3), max_leaves=6
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    """One event as text: keys may come twice, be escaped, have blanks around them."""
    members = draw(st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=6))
    ascii_only, blank = draw(st.booleans()), draw(st.sampled_from(["", " "]))
    pieces = [
        f"{json.dumps(name, ensure_ascii=ascii_only)}{blank}:{blank}{json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in members
    ]
    pieces.insert(draw(st.integers(0, len(pieces))), f'"@timestamp":{AT}')
    return "{" + ",".join(pieces) + "}"


paths = st.sampled_from(PATHS)
steps = st.one_of(
    st.builds(lambda old, new: {"do": "rename", "fields": {old: new}}, paths, paths),
    st.builds(lambda path: {"do": "drop", "fields": [path]}, paths),
    st.builds(lambda some: {"do": "keep", "fields": sorted(some)}, st.sets(paths, min_size=1, max_size=3)),
    st.builds(
        lambda path, value, replace: {"do": "set", "values": {path: value}, "replace": replace},
        paths,
        st.one_of(st.integers(0, 9), st.just("s")),
        st.booleans(),
    ),
    st.builds(
        lambda path, end: {"do": "convert", "fields": [path], "to": "int", "on_error": end},
        paths,
        st.sampled_from(["keep", "drop"]),
    ),
    st.builds(lambda path: {"do": "range", "field": path, "bounds": [-5, 0, 100, 10**20]}, paths),
    st.builds(lambda path, into: {"do": "range", "field": path, "bounds": [0, 9], "into": into}, paths, paths),
)


@settings(max_examples=400, deadline=None)
@example(
    [f'{{"@timestamp":{AT},"a":{{"b":false}},"b.a":null}}'], [({"do": "rename", "fields": {"b.a": "a.b.n"}}, False)]
)
@example([f'{{"@timestamp":{AT},"b.a":{{}}}}'], [({"do": "set", "values": {"b.a": "s"}, "replace": False}, False)])
@given(st.lists(lines(), min_size=1, max_size=4), st.lists(st.tuples(steps, st.booleans()), max_size=5))
def test_as_the_reference_says(events: list[str], chosen: list[tuple[dict[str, Any], bool]]) -> None:
    program = program_of(*({**step, **({"where": "n > 4"} if some else {})} for step, some in chosen))
    out, failures = change(program, *events)
    counted: dict[str, int] = {}
    expected = [reference(json.loads(line), chosen, counted) for line in events]
    assert exact(out) == exact(expected)
    assert failures == counted


def exact(events: list[Any]) -> str:
    """Tells 1, 1.0 and true apart; the order of keys does not matter."""
    return json.dumps(events, sort_keys=True)


# ---- the reference -------------------------------------------------------------------------------------------------
MISSING = object()


def reference(event: dict[str, Any], chosen: list[tuple[dict[str, Any], bool]], counted: dict[str, int]) -> Any:
    """What the steps make of one event, by the words of the documentation."""
    del event["@timestamp"]
    number = event.get("n")
    matches = type(number) in (int, float) and number > 4
    for step, some in chosen:
        if not some or matches:
            for failure in globals()[f"do_{step['do']}"](event, step):
                counted[failure] = counted.get(failure, 0) + 1
    return event


def parent(event: dict[str, Any], path: str) -> dict[str, Any] | None:
    node: Any = event
    for step in path.split(".")[:-1]:
        node = node.get(step) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else None


def nested(event: dict[str, Any], path: str) -> Any:
    above = parent(event, path) if "." in path else None
    return MISSING if above is None else above.get(path.rpartition(".")[2], MISSING)


def member(event: dict[str, Any], path: str) -> Any:
    literal = event.get(path)
    found = literal if literal is not None else nested(event, path)
    return event.get(path, MISSING) if found is MISSING else found


def value(event: dict[str, Any], path: str) -> Any:
    for found in (event.get(path), nested(event, path)):
        if found is not None and found is not MISSING and not isinstance(found, dict):
            return found
    return None


def write(event: dict[str, Any], path: str, new: Any) -> bool:
    literal = event.get(path, MISSING)
    shadowed = (literal is None or isinstance(literal, dict)) and nested(event, path) is not MISSING
    if "." not in path or (literal is not MISSING and not shadowed):
        event[path] = new
        return True
    *around, last = path.split(".")
    node: Any = event
    for step in around:
        if node.get(step) is None:
            node[step] = {}
        node = node[step]
        if not isinstance(node, dict):
            return False
    node[last] = new
    return True


def remove(event: dict[str, Any], path: str) -> None:
    event.pop(path, None)
    above = parent(event, path)
    if "." in path and above is not None:
        above.pop(path.rpartition(".")[2], None)


def do_rename(event: dict[str, Any], step: dict[str, Any]) -> list[str]:
    ((old, new),) = step["fields"].items()
    moved = member(event, old)
    if moved is MISSING:
        return []
    if member(event, new) is not MISSING:
        return ["rename_name_taken"]
    after = copy.deepcopy(event)
    if moved is event.get(old, MISSING):
        del after[old]
    else:
        above = parent(after, old)
        assert above is not None
        del above[old.rpartition(".")[2]]
    if not write(after, new, copy.deepcopy(moved)):
        return ["rename_no_place"]
    event.clear()
    event.update(after)
    return []


def do_drop(event: dict[str, Any], step: dict[str, Any]) -> list[str]:
    remove(event, step["fields"][0])
    return []


def do_keep(event: dict[str, Any], step: dict[str, Any]) -> list[str]:
    before = copy.deepcopy(event)
    for name in [name for name in event if name not in step["fields"]]:
        del event[name]
    for path in step["fields"]:
        found = nested(before, path)
        if found is not MISSING:
            node = event
            for part in path.split(".")[:-1]:
                node = node.setdefault(part, {})
            node[path.rpartition(".")[2]] = found
    return []


def do_set(event: dict[str, Any], step: dict[str, Any]) -> list[str]:
    ((path, new),) = step["values"].items()
    there = member(event, path)
    if not step["replace"] and there is not MISSING and there is not None:
        return []
    return [] if write(event, path, new) else ["set_no_place"]


def do_convert(event: dict[str, Any], step: dict[str, Any]) -> list[str]:
    (path,) = step["fields"]
    old = value(event, path)
    if old is None and (member(event, path) is MISSING or member(event, path) is None):
        return []
    new: Any = MISSING
    if isinstance(old, str) and len(old) <= 20:
        try:
            new = int(old) if "_" not in old else MISSING
        except ValueError:
            new = MISSING
    elif isinstance(old, int | float) and old == int(old):
        new = int(old)
    if type(old) is int:
        return []
    if new is not MISSING and -(2**63) <= new < 2**64:
        write(event, path, new)
        return []
    if step["on_error"] == "drop":
        remove(event, path)
    return ["convert_failed"]


def do_range(event: dict[str, Any], step: dict[str, Any]) -> list[str]:
    number = value(event, step["field"])
    if number is None and member(event, step["field"]) in (MISSING, None):
        return []
    if type(number) not in (int, float):
        return ["range_not_a_number"]
    bounds = step["bounds"]
    for low, high in pairwise(bounds):
        if low <= number < high:
            label = f"{float(low):.12g}-{float(high):.12g}"
            into = step.get("into") or f"{step['field']}_rg"
            return [] if write(event, into, label) else ["range_no_place"]
    return ["range_outside"]

"""Parts of a view: the same events, columns and times, in every way they are cut."""

from __future__ import annotations

import json
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from dpiped.projection import Projection
from dpiped.testing import body_of, view_of
from dpiped.view import PackView, with_fields


def view_where(numbers: list[int], where: str) -> PackView:
    return view_of(body_of({"@timestamp": 1_000 + number, "n": number} for number in numbers), ["n"], where, host="h")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 12), st.sampled_from(["n >= 0", "n > 4"]))
def test_slices_are_the_view_in_order(numbers: list[int], most: int, where: str) -> None:
    whole = view_where(numbers, where)
    parts = [part for part in whole.slices(most) if part.count]
    assert b"".join(part.body for part in parts) == whole.body
    assert [value for part in parts for value in part.column("n")] == whole.column("n")
    assert [line for part in parts for line in part.lines] == list(whole.lines)
    for part in parts:
        stamps = [json.loads(line)["@timestamp"] for line in part.body.splitlines()]
        assert part.count == len(stamps) <= most
        assert part.span == (min(stamps), max(stamps))
        assert part.column("_host") == ["h"] * part.count


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.data())
def test_only_some_of_some(numbers: list[int], data: st.DataObject) -> None:
    some = view_where(numbers, "n > 2")
    wanted = data.draw(st.lists(st.booleans(), min_size=some.count, max_size=some.count))
    fewer = some.only(wanted)
    expected = [n for n, kept in zip((n for n in numbers if n > 2), wanted, strict=True) if kept]
    assert fewer.column("n") == expected
    assert [json.loads(line)["n"] for line in fewer.body.splitlines()] == expected


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_fewer_of_a_view_are_fewer_of_its_events_in_their_order(numbers: list[int], wanted: list[bool]) -> None:
    lines = [b'{"@timestamp":%d,"n":%d}\n' % (place, number) for place, number in enumerate(numbers)]
    view = view_of(b"".join(lines), ["n"], "n > 1", host="h")
    kept = [place for place, number in enumerate(numbers) if number > 1]
    fewer = view.only(wanted[: len(kept)])
    expected = [place for place, is_wanted in zip(kept, wanted, strict=False) if is_wanted]
    assert fewer.count == len(expected)
    assert fewer.column("n") == [numbers[place] for place in expected]
    assert list(fewer.lines) == expected
    assert fewer.body == b"".join(lines[place] for place in expected)
    assert fewer.whole is (len(expected) == len(numbers))
    assert view.count == len(kept)
    none = fewer.only([False] * fewer.count)
    assert (none.count, none.body, none.column("n"), none.column("_host")) == (0, b"", [], [])


@given(st.lists(st.text(), min_size=1, max_size=20), st.text(min_size=1))
def test_host_and_source_stand_at_the_end_of_each_event(texts: list[str], host: str) -> None:
    events = [{"@timestamp": place, "text": text, "braces": "}\n}{"} for place, text in enumerate(texts)]
    view = view_of(body_of(events), ["_host", "_source"], host=host, source="a}b")
    lines = view.body_with_metadata().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == [{**event, "_host": host, "_source": "a}b"} for event in events]


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_what_the_intake_knows_is_not_looked_for(texts: list[str]) -> None:
    body = body_of({"@timestamp": 1, "text": text, "quoted": '"_host" \\u005f'} for text in texts)
    view = view_of(body, [], host="h", source="s")
    searched = view.body_with_metadata()
    view.pack.lacks = frozenset(("_host", "_source"))
    with patch("dpiped.view.with_fields", side_effect=with_fields) as added:
        assert view.body_with_metadata() == searched
    assert added.call_args.args[2] == {"_host", "_source"}


def test_a_value_that_cannot_be_read_keeps_nobody_from_being_written() -> None:
    body = b'{"@timestamp":1,"_host":"own"}\n{"@timestamp":1,"n":1e400}\n{"@timestamp":1,"\\u005fhost":"own"}\n'
    assert with_fields(body, {"_host": "h"}).splitlines() == [
        b'{"@timestamp":1,"_host":"own"}',
        b'{"@timestamp":1,"n":1e400,"_host":"h"}',
        b'{"@timestamp":1,"\\u005fhost":"own"}',
    ]


@given(st.lists(st.sampled_from([{}, {"_host": "x"}, {"_host": None}, {"_source": 1}, {"a": "_host"}]), min_size=1))
def test_what_no_event_has_is_known_of_the_fields_that_are_read(events: list[dict[str, object]]) -> None:
    body = body_of({"@timestamp": 1, **event} for event in events)
    lacking = {name for name in ("_host", "_source") if not any(name in event for event in events)}
    for read in ([], ["_host"], ["_source", "a"], ["_host", "_source"]):
        projection = Projection.of(read)
        assert projection.absent(projection.decode(body)) == lacking.intersection(read)

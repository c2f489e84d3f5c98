"""Views of a pack with fewer events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dpiped.expressions import compile_where
from dpiped.pack import Head, Pack
from dpiped.projection import Projection
from dpiped.view import PackView


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_fewer_of_a_view_are_fewer_of_its_events_in_their_order(numbers: list[int], wanted: list[bool]) -> None:
    lines = [b'{"@timestamp":%d,"n":%d}\n' % (place, number) for place, number in enumerate(numbers)]
    body = b"".join(lines)
    pack = Pack()
    pack.fill(Head(count=len(lines), raw_bytes=len(body), host="h"), body, body)
    view = PackView(pack, Projection.of(["n"]), compile_where("n > 1"))
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

"""Answers are written in pieces, and nobody who reads them can tell."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dpiped.web.forms import ROWS_AT_ONCE, _written, as_csv, as_json_pieces, as_text

texts = st.text(st.characters(codec="utf-8"), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


class Some(msgspec.Struct):
    name: str
    rows: list[dict[str, Any]]
    more: bool
    places: list[int] = []
    inner: dict[str, Any] = {}


def rows_of(count: int) -> list[dict[str, Any]]:
    return [
        {"n": n, "group": {"host": f"h\n{n}"}, "list": [n], "of": None, f"only{n % 3}": "a,b"} for n in range(count)
    ]


def in_one(data: msgspec.Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"


@given(
    texts,
    st.lists(st.dictionaries(texts, values, max_size=3), max_size=4),
    st.booleans(),
    st.dictionaries(texts, values),
)
def test_json_in_pieces_is_json(name: str, rows: list[dict[str, Any]], more: bool, inner: dict[str, Any]) -> None:
    data = Some(name, rows, more, inner=inner)
    assert "".join(as_json_pieces(data)) == in_one(data)


def test_a_piece_holds_only_so_many_rows() -> None:
    rows = rows_of(5 * ROWS_AT_ONCE // 2)
    data = Some("a", rows, more=True, places=list(range(2 * ROWS_AT_ONCE)))
    pieces = list(as_json_pieces(data))
    assert "".join(pieces) == in_one(data)
    assert sorted(piece.count('"of"') for piece in pieces)[-3:] == [ROWS_AT_ONCE // 2, ROWS_AT_ONCE, ROWS_AT_ONCE]
    for written in (list(as_csv(rows)), list(as_text(rows))):
        assert [piece.count("a,b") for piece in written] == [ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE // 2 + 1]


def test_csv_in_pieces_is_one_table() -> None:
    rows = rows_of(3 * ROWS_AT_ONCE)
    head, *read = csv.reader(io.StringIO("".join(as_csv(rows)), newline=""))
    assert head == ["n", "group.host", "list", "of", "only0", "only1", "only2"]
    assert read[4] == ["4", "h\n4", "[4]", "", "", "a,b", ""]
    assert len(read) == len(rows)
    assert list(as_csv([])) == ["\r\n"]
    assert list(as_text([])) == ["nothing yet\n"]


def test_the_etag_is_that_of_the_body() -> None:
    rows = rows_of(3)
    data = Some("a", rows, more=False)
    written = {form: _written(form, data, rows) for form in ("json", "csv", "text")}  # type: ignore[arg-type]
    assert len({tag for _, tag in written.values()}) == 3
    assert written["json"] == _written("json", Some("a", rows_of(3), more=False), [])
    assert written["json"][0].decode() == in_one(data)

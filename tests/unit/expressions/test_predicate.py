"""Parsing, errors with their place, and masks of packs."""

from __future__ import annotations

import pytest

from dpiped.expressions import WhereError, check_where, compile_where
from dpiped.testing import body_of, view_of
from dpiped.view import PackView

WRONG = [
    ("", 0, "is empty"),
    ("  ", 0, "is empty"),
    ("a ==", 4, "expected a field"),
    ("a = 1", 2, "write =="),
    ("a && b", 2, "write `and`"),
    ("'x' and b", 0, "expected a condition"),
    ("a and 5", 6, "expected a condition"),
    ("a + 1", 0, "expected a condition"),
    ("lower(a)", 0, "expected a condition"),
    ("not 'x'", 4, "expected a condition"),
    ("1 < a < 2", 6, "do not chain"),
    ("foo(a)", 0, "no function 'foo'"),
    ("lowr(a) == 'x'", 0, "did you mean lower"),
    ("len(a, b) == 1", 0, "takes 1 values, found 2"),
    ("(a == 1", 7, "expected ')'"),
    ("a == 1)", 6, "unexpected ')'"),
    ("a == 1 b", 7, "unexpected 'b'"),
    ("a ~ '('", 4, "RE2"),
    ("a ~ b", 4, "regular expression in quotes"),
    ("a in [null]", 6, "a list holds"),
    ("a in [1 2]", 8, "expected ','"),
    ("a in 'x'", 5, "expected a list"),
    ("a not 5", 6, "expected `in`"),
    ("a < null", 2, "null can only"),
    ("1 == null", 2, "null can only"),
    ("exists(5)", 0, "exists takes one field"),
    ("'abc", 0, "not closed"),
    (r"a == 'x\q'", 7, "unknown escape"),
    (r"a == '\ud800'", 6, "unknown escape"),
    ("a == #", 5, "unexpected '#'"),
    ("a == `b", 5, "not closed"),
    ("``  == 1", 0, "empty"),
    ("a == 1e999", 5, "too large"),
    ("(" * 51 + "a" + ")" * 51, 50, "nested more than 50"),
    ("not " * 51 + "a", 200, "nested more than 50"),
    ("+".join(["1"] * 60) + " == 1", 101, "nested more than 50"),
    ("a" * 10_001, 10_000, "longer than"),
]


@pytest.mark.parametrize(("text", "at", "message"), WRONG, ids=range(len(WRONG)))
def test_error_names_the_place(text: str, at: int, message: str) -> None:
    with pytest.raises(WhereError) as caught:
        compile_where(text)
    assert message in str(caught.value)
    assert caught.value.at == at
    assert "\n" not in str(caught.value)


def test_caret_stands_below_the_place() -> None:
    with pytest.raises(ValueError, match="line 2, column 4") as caught:
        check_where("level >= 3 and\n\tx =")
    *_, line, caret = str(caught.value).splitlines()
    assert line[caret.index("^")] == "="


def test_caret_of_a_long_line_stays_near() -> None:
    with pytest.raises(WhereError) as caught:
        compile_where("a == 1 or " * 50 + "b = 1")
    line, caret = caught.value.caret().splitlines()
    assert line[caret.index("^")] == "="
    assert len(line) <= 100


def test_check_where_gives_the_text_back() -> None:
    assert check_where("a == 1") == "a == 1"


def masked(events: list[dict[str, object]], text: str, **head: str) -> tuple[PackView, list[bool]]:
    where = compile_where(text)
    view = view_of(body_of(events), where.fields, **head)
    return view, where.mask(view)


def test_fields_are_what_it_reads() -> None:
    assert compile_where("a.b == 1 and not exists(c) or len(`d e`) in [1] or -f > g % 2").fields == {
        "a.b",
        "c",
        "d e",
        "f",
        "g",
    }
    assert compile_where("1 == 1").fields == frozenset()


def test_metadata_of_the_head_counts_for_all_events() -> None:
    events: list[dict[str, object]] = [{"@timestamp": 1, "level": 1}, {"@timestamp": 2, "level": 5}]
    assert masked(events, "_host == 'web1'", host="web1")[1] == [True, True]
    assert masked(events, "_host == 'web1' and level > 3", host="web1")[1] == [False, True]
    assert masked(events, "_ident == 'a.b' and _project == 'rs'", ident="a.b", project="rs")[1] == [True, True]


def test_metadata_of_events_counts_where_the_head_has_none() -> None:
    events: list[dict[str, object]] = [{"@timestamp": 1, "_host": "web1"}, {"@timestamp": 2, "_host": "web2"}]
    assert masked(events, "_host == 'web1'")[1] == [True, False]


def test_without_fields_and_without_events() -> None:
    assert masked([{"@timestamp": 1}] * 3, "1 == 1")[1] == [True] * 3
    assert masked([], "a == 1")[1] == []


def test_a_view_keeps_what_holds() -> None:
    view = view_of(b'{"@timestamp":1,"a":1}\n{"@timestamp":1,"a":2}\n', (), "a > 1")
    assert view.count == 1
    assert view.body == b'{"@timestamp":1,"a":2}\n'


def test_names_of_the_config_never_become_code() -> None:
    name = "__import__('os')"
    where = compile_where(f"`{name}` == '{name[:5]}'")
    assert where.fields == {name}
    assert where.matches({name: "__imp"})


def test_nesting_does_not_double_the_code() -> None:
    text = "a in [true]"
    for _ in range(40):
        text = f"({text}) in [true]"
    assert compile_where(text).matches({"a": True})


def test_a_lone_surrogate_matches_no_pattern() -> None:
    assert not compile_where("a ~ '.'").matches({"a": "\ud800"})

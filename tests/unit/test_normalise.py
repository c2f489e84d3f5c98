"""What is taken out of texts, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dpiped.normalise import LONGEST, PATTERNS, Kind, Normaliser, NormaliseRule, OwnRule

EVERYTHING: tuple[Kind, ...] = tuple(PATTERNS)


@pytest.mark.parametrize(
    ("kinds", "text", "expected"),
    [
        (["digits"], "user 4711 failed from 10.0.0.7", "user ? failed from ?.?.?.?"),
        (["digits"], "abc12def", "abc?def"),
        (["hex"], "token deadbeef01 added 0xFF cafe 12", "token ? added ? cafe ?"),
        (["uuid"], "id 550e8400-e29b-41d4-a716-446655440000 ok 12", "id ? ok 12"),
        (["quoted"], "open \"a 'b' c\" and 'd' but \"no end", 'open ? and ? but "no end'),
        (["quoted"], "can't read the file of 'ann' at 5 o'clock", "can't read the file of ? at 5 o'clock"),
        (["quoted"], "key='a b' ['c','d'] b'e f' l'eau d'ici", "key=? [?,?] b? l'eau d'ici"),
        (["email"], "mail to bob.x+1@mail.example.com now", "mail to ? now"),
        (["digits", "uuid"], "id 550e8400-e29b-41d4-a716-446655440000 n 5", "id ? n ?"),
        (EVERYTHING, "u 12 'x@y.de 3' from a@b.org 550e8400-e29b-41d4-a716-446655440000 0x1f", "u ? ? from ? ? ?"),
        ([], "user 12", "user 12"),
        (["digits"], "", ""),
        (["digits"], "größe 5 käse", "größe ? käse"),
    ],
)  # fmt: skip
def test_known_kinds(kinds: list[Kind], text: str, expected: str) -> None:
    assert Normaliser(kinds).texts([text]) == [expected]


def test_the_order_of_known_kinds_does_not_matter() -> None:
    text = 'x 12 "q 5" a1@b.de 550e8400-e29b-41d4-a716-446655440000 0xab'
    assert Normaliser(EVERYTHING).text(text) == Normaliser(EVERYTHING[::-1]).text(text)


def test_own_rules_come_first_and_in_their_order() -> None:
    own = [OwnRule(pattern=r"batch=(\w)\w*", replace=r"batch=\1*"), OwnRule(pattern="a\\*")]
    rules: list[NormaliseRule] = ["digits", *own]
    assert Normaliser(rules).text("batch=ab12 n 7") == "batch=? n ?"


def test_what_is_no_text_stays_as_it_is() -> None:
    values: list[Any] = [None, 5, 1.5, True, "n 5", [1], "n 6"]
    assert Normaliser(["digits"]).texts(values) == [None, 5, 1.5, True, "n ?", [1], "n ?"]
    assert Normaliser(["digits"]).texts([]) == []
    assert Normaliser(["digits"]).texts(["a 1", "a 2"]) == ["a ?", "a ?"]


def test_long_texts_are_cut() -> None:
    assert Normaliser(["digits"]).text("x" * LONGEST + "1") == "x" * LONGEST
    assert Normaliser(["digits"]).text("\ud800 5") == "\ud800 ?"
    assert Normaliser([OwnRule(pattern="5")]).text("\ud800 5ä") == "? ?ä"


@given(st.text(max_size=200))
def test_any_text_gives_one_without_what_was_asked_for(text: str) -> None:
    once = Normaliser(["digits"]).text(text)
    assert not any(character in "0123456789" for character in once)
    for kinds in (["quoted"], ["email"], EVERYTHING):
        assert isinstance(Normaliser(kinds).text(text), str)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"pattern": "("}, "missing"),
        ({"pattern": "a*"}, "fits the empty text"),
        ({"pattern": "a", "replace": "\\1"}, "names a group"),
        ({"pattern": "(a)", "replace": "\\2"}, "names a group"),
        ({"pattern": ""}, "at least 1"),
        ("digit", "digits"),
    ],
)
def test_mistakes_are_found(rule: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TypeAdapter(NormaliseRule).validate_python(rule)

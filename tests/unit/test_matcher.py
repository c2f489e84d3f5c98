"""Which packs a matcher wants, and which patterns meet."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpiped.matcher import Matcher, Pattern, PatternError, is_from_input, patterns_overlap
from dpiped.pack import Head


@pytest.mark.parametrize(
    ("pattern", "ident", "expected"),
    [
        ("rs.web", "rs.web", True),
        ("rs.web", "rs.web.x", False),
        ("rs.*", "rs.web", True),
        ("rs.*", "rs", False),
        ("rs.*", "rs.web.x", False),
        ("rs.**", "rs", True),
        ("rs.**", "rs.web.x", True),
        ("rs.**", "rsx.web", False),
        ("**", "anything.at.all", True),
        ("**.error", "error", True),
        ("**.error", "a.b.error", True),
        ("**.error", "a.error.b", False),
        ("a.**.*.z", "a.z", False),
        ("a.**.*.z", "a.b.z", True),
        ("a.**.**.z", "a.z", True),
        ("*.*", "a.b", True),
        ("**", "_dpipe.tick", False),
        ("*.tick", "_dpipe.tick", False),
        ("_dpipe.events", "_dpipe.events", True),
        ("_dpipe.**", "_dpipe.tick", True),
        ("**", "_dpiped.x", True),
    ],
)
def test_pattern(pattern: str, ident: str, expected: bool) -> None:
    assert Matcher([pattern]).matches(Head(project="p", ident=ident)) is expected


def test_a_project_narrows_a_pattern() -> None:
    matcher = Matcher(["rs:web.**", "shop:**"])
    assert matcher.matches(Head(project="rs", ident="web.x"))
    assert not matcher.matches(Head(project="rs", ident="db"))
    assert matcher.matches(Head(project="shop", ident="db"))
    assert not matcher.matches(Head(project="other", ident="web"))


def test_no_patterns_means_what_inputs_gave() -> None:
    matcher = Matcher([])
    assert matcher.matches(Head(ident="a"))
    assert not matcher.matches(Head(ident="a", cause=("f", 3)))
    assert not matcher.matches(Head(ident="_dpipe.tick"))
    assert Matcher(["a"]).matches(Head(ident="a", cause=("f", 3)))


def test_an_addressed_pack_goes_to_its_runner_alone() -> None:
    head = Head(ident="a", only="mail")
    assert not Matcher(["a"], "file").matches(head)
    assert Matcher(["b"], "mail").matches(head)


def test_given_by_an_input() -> None:
    assert is_from_input(Head(ident="_dpiped"))
    assert not is_from_input(Head(ident="_dpipe.control"))
    assert not is_from_input(Head(ident="x", cause=("f", 0)))


NO_PATTERNS = ["", "a..b", ".a", "a*", "a.***", "a b", "bad project:a", ":a", "a.b/c", "ä", "a\n", "x" * 201]


@pytest.mark.parametrize("text", NO_PATTERNS)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(PatternError):
        Pattern(text)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a.*", "*.b", True),
        ("a.**", "**.b", True),
        ("a.*", "a", False),
        ("a.**", "b.**", False),
        ("*", "**", True),
        ("*.*", "**.a.b.c", False),
        ("p:a", "q:a", False),
        ("p:a", "a", True),
        ("**", "_dpipe.tick", False),
        ("_dpipe.*", "_dpipe.tick", True),
    ],
)
def test_overlap(a: str, b: str, expected: bool) -> None:
    assert patterns_overlap(a, b) is expected
    assert patterns_overlap(b, a) is expected


def test_can_match() -> None:
    assert Matcher([]).can_match("x", from_input=True)
    assert not Matcher([]).can_match("x", from_input=False)
    assert Matcher(["stats.*"]).can_match("stats.traffic", from_input=False)
    assert not Matcher(["stats.*"]).can_match("rs.**")


PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=5).map(".".join)
IDENTS = [".".join(parts) for length in range(1, 7) for parts in product("ab", repeat=length)]


def reference(pattern: str) -> re.Pattern[str]:
    """The same language as a regular expression over parts that end in a dot."""
    parts = {"*": r"[ab]\.", "**": r"(?:[ab]\.)*"}
    return re.compile("".join(parts.get(part, part + r"\.") for part in pattern.split(".")))


@given(PATTERNS, st.sampled_from(IDENTS))
def test_matches_as_the_reference_says(pattern: str, ident: str) -> None:
    assert Pattern(pattern).matches("", ident) is (reference(pattern).fullmatch(ident + ".") is not None)


@given(PATTERNS, PATTERNS)
def test_overlaps_where_an_ident_fits_both(a: str, b: str) -> None:
    one, two = reference(a), reference(b)
    if any(one.fullmatch(ident + ".") and two.fullmatch(ident + ".") for ident in IDENTS):
        assert patterns_overlap(a, b)
    elif "**" not in a.split(".") or "**" not in b.split("."):  # else the shortest common ident may be longer than ours
        assert not patterns_overlap(a, b)


def test_many_stars_stay_fast() -> None:
    pattern = Pattern(".".join(["**", "a"] * 15))
    assert not pattern.matches("", ".".join("a" * 80 + "b"))

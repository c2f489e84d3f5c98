"""`where` against an evaluator of its own, on random expressions and events; and on random text."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dpiped.expressions import WhereError, compile_where
from dpiped.testing import body_of, view_of

Event = dict[str, Any]
Rule = tuple[str, Callable[[Event], Any]]
"""An expression, and what it means, by closures that share nothing with the code under test."""

ABSENT = object()
NAMES = ["a", "b", "o.x", "o.y"]


def kind(value: Any) -> str:
    for name, types in (("bool", bool), ("number", (int, float)), ("text", str), ("list", list)):
        if isinstance(value, types):
            return name
    return "absent"


def lookup(name: str) -> Callable[[Event], Any]:
    def read(event: Event) -> Any:
        candidates = [event.get(name)]
        if "." in name:
            outer, inner = name.split(".")
            below = event.get(outer)
            candidates.append(below.get(inner) if isinstance(below, dict) else None)
        return next((value for value in candidates if kind(value) != "absent"), ABSENT)

    return read


def equal(a: Any, b: Any) -> bool:
    return kind(a) == kind(b) and kind(a) in ("bool", "number", "text") and bool(a == b)


ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compared(sign: str, a: Any, b: Any) -> bool:
    if "absent" in (kind(a), kind(b)):
        return False
    if sign in ("==", "!="):
        return equal(a, b) is (sign == "==")
    return kind(a) == kind(b) and kind(a) in ("number", "text") and ORDER[sign](a, b)


def computed(sign: str, a: Any, b: Any) -> Any:
    if kind(a) != "number" or kind(b) != "number" or (sign in "/%" and b == 0):
        return ABSENT
    signs: dict[str, Callable[[Any, Any], Any]] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
        "%": operator.mod,
    }
    return signs[sign](a, b)


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def constant(value: Any) -> str:
    return {"True": "true", "False": "false"}.get(str(value), quoted(value) if isinstance(value, str) else repr(value))


NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.0, 2.0, 1e6])
TEXTS = st.sampled_from(["", "a", "ab", "A", "it's", "b\\", "ä\n", "5"])
SCALARS = NUMBERS | TEXTS | st.booleans()
VALUES = SCALARS | st.none() | st.lists(SCALARS, max_size=2)
EVENTS = st.fixed_dictionaries(
    {"@timestamp": st.just(1)},
    optional={"a": VALUES, "b": VALUES, "o": VALUES | st.dictionaries(st.sampled_from("xy"), VALUES), "o.x": VALUES},
)

FIELDS: st.SearchStrategy[Rule] = st.sampled_from(NAMES).map(lambda name: (name, lookup(name)))
CONSTANTS: st.SearchStrategy[Rule] = SCALARS.map(lambda value: (constant(value), lambda _: value))


def functions(values: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    def of_text(name: str, function: Callable[[str], Any]) -> st.SearchStrategy[Rule]:
        def make(rule: Rule) -> Rule:
            return f"{name}({rule[0]})", lambda e: function(rule[1](e)) if kind(rule[1](e)) == "text" else ABSENT

        return values.map(make)

    def length(rule: Rule) -> Rule:
        return f"len({rule[0]})", lambda e: len(rule[1](e)) if kind(rule[1](e)) in ("text", "list") else ABSENT

    def arithmetic(left: Rule, sign: str, right: Rule) -> Rule:
        return f"({left[0]} {sign} {right[0]})", lambda e: computed(sign, left[1](e), right[1](e))

    return (
        of_text("lower", str.lower)
        | of_text("upper", str.upper)
        | values.map(length)
        | st.builds(arithmetic, values, st.sampled_from("+-*/%"), values)
    )


OPERANDS = st.recursive(FIELDS | CONSTANTS, functions, max_leaves=3)


def comparison(left: Rule, sign: str, right: Rule) -> Rule:
    return f"{left[0]} {sign} {right[0]}", lambda e: compared(sign, left[1](e), right[1](e))


def membership(left: Rule, word: str, values: list[Any]) -> Rule:
    text = f"{left[0]} {word} [{', '.join(map(constant, values))}]"

    def holds(event: Event) -> bool:
        value = left[1](event)
        return kind(value) != "absent" and any(equal(value, v) for v in values) is (word == "in")

    return text, holds


def pattern(left: Rule, sign: str, regex: str) -> Rule:
    def holds(event: Event) -> bool:
        value = left[1](event)
        found = kind(value) == "text" and re.search(regex, value) is not None
        return kind(value) != "absent" and found is (sign == "~")

    return f"{left[0]} {sign} {quoted(regex)}", holds


def text_test(name: str, left: Rule, right: Rule) -> Rule:
    def holds(event: Event) -> bool:
        a, b = left[1](event), right[1](event)
        if name == "contains" and kind(a) == "list":
            return any(equal(element, b) for element in a)
        if kind(a) != "text" or kind(b) != "text":
            return False
        return bool({"startswith": a.startswith, "endswith": a.endswith, "contains": a.__contains__}[name](b))

    return f"{name}({left[0]}, {right[0]})", holds


CONDITIONS = (
    st.builds(comparison, OPERANDS, st.sampled_from(["==", "!=", *ORDER]), OPERANDS)
    | st.builds(membership, OPERANDS, st.sampled_from(["in", "not in"]), st.lists(SCALARS, max_size=3))
    | st.builds(pattern, OPERANDS, st.sampled_from(["~", "!~"]), st.sampled_from(["^a", "b$", ".", "[Aä]", "5"]))
    | st.builds(text_test, st.sampled_from(["startswith", "endswith", "contains"]), OPERANDS, OPERANDS)
    | FIELDS.map(lambda rule: (f"exists({rule[0]})", lambda e: kind(rule[1](e)) != "absent"))
    | FIELDS.map(lambda rule: (f"{rule[0]} == null", lambda e: kind(rule[1](e)) == "absent"))
    | FIELDS.map(lambda rule: (rule[0], lambda e: rule[1](e) is True))
)


def logic(parts: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    def both(a: Rule, b: Rule) -> Rule:
        return f"({a[0]}) and ({b[0]})", lambda e: a[1](e) and b[1](e)

    def either(a: Rule, b: Rule) -> Rule:
        return f"({a[0]}) or ({b[0]})", lambda e: a[1](e) or b[1](e)

    return (
        st.builds(both, parts, parts)
        | st.builds(either, parts, parts)
        | parts.map(lambda rule: (f"not ({rule[0]})", lambda e: not rule[1](e)))
    )


RULES = st.recursive(CONDITIONS, logic, max_leaves=4)


@settings(max_examples=300)
@given(RULES, st.lists(EVENTS, min_size=1, max_size=6))
def test_mask_and_matches_as_the_reference_says(rule: Rule, events: list[Event]) -> None:
    text, meaning = rule
    where = compile_where(text)
    expected = [meaning(event) for event in events]
    assert [where.matches(event) for event in events] == expected
    mask = where.mask(view_of(body_of(events), where.fields))
    assert mask == expected
    assert {type(one) for one in mask} == {bool}


SIGNS = ["a", "o.x", "1", "'t'", "(", ")", "[", "]", ",", "==", "~", "not", "and", "in", "-", "`", "\\"]
ALPHABET = st.sampled_from(SIGNS)


@given(st.lists(ALPHABET, max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_compiles_or_tells_where_it_is_wrong(text: str) -> None:
    try:
        where = compile_where(text)
    except WhereError as exc:
        assert 0 <= exc.at <= len(text)
        assert "^" in exc.caret()
    else:
        assert where.matches({"a": 1}) in (True, False)

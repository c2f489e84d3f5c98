"""What the operators do with values. Pure functions that never raise; None is absent.

Kinds are number, text, boolean and list. `true` is no number and `"5"` is no number; a list equals nothing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

NUMBERS: Final = frozenset({int, float})
TEXTS: Final = frozenset({str})


def same(a: Any, b: Any) -> bool:
    """Present, of one kind, and equal."""
    if type(a) in NUMBERS:
        return type(b) in NUMBERS and bool(a == b)
    return type(a) is type(b) and type(a) in (str, bool) and bool(a == b)


def other(a: Any, b: Any) -> bool:
    """Both present, and not the same."""
    return a is not None and b is not None and not same(a, b)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(a: Any, b: Any) -> bool:
        if type(a) in NUMBERS:
            return type(b) in NUMBERS and compare(a, b)
        return type(a) is str and type(b) is str and compare(a, b)

    return ordered


def _computed(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def computed(a: Any, b: Any) -> Any:
        if type(a) not in NUMBERS or type(b) not in NUMBERS:
            return None
        try:
            result = compute(a, b)
        except (ZeroDivisionError, OverflowError):
            return None
        return result if type(result) is int or math.isfinite(result) else None

    return computed


def negative(a: Any) -> Any:
    return -a if type(a) in NUMBERS else None


def lower(a: Any) -> Any:
    return a.lower() if type(a) is str else None


def upper(a: Any) -> Any:
    return a.upper() if type(a) is str else None


def length(a: Any) -> Any:
    """Characters of a text, elements of a list."""
    return len(a) if type(a) in (str, list) else None


def startswith(a: Any, b: Any) -> bool:
    return type(a) is str and type(b) is str and a.startswith(b)


def endswith(a: Any, b: Any) -> bool:
    return type(a) is str and type(b) is str and a.endswith(b)


def contains(a: Any, b: Any) -> bool:
    """A text in a text, or a value in a list."""
    if type(a) is list:
        return any(same(element, b) for element in a)
    return type(a) is str and type(b) is str and b in a


def found(search: Callable[[str], Any], a: Any) -> bool:
    """Whether the pattern is somewhere in the text."""
    if type(a) is not str:
        return False
    try:
        return search(a) is not None
    except UnicodeEncodeError:  # a lone surrogate, which only an event that was never JSON text can hold
        return False


def not_found(search: Callable[[str], Any], a: Any) -> bool:
    """Present, and the pattern is not in it."""
    return a is not None and not found(search, a)


def by_kind(values: tuple[Any, ...]) -> Mapping[type, frozenset[Any]]:
    """The constants of an `in`, apart by the type of what may equal them."""
    numbers = frozenset(value for value in values if type(value) in NUMBERS)
    kinds: dict[type, frozenset[Any]] = {int: numbers, float: numbers}
    for kind in (str, bool):
        kinds[kind] = frozenset(value for value in values if type(value) is kind)
    return kinds


def member(kinds: Mapping[type, frozenset[Any]], a: Any) -> bool:
    """Whether the value is one of the constants."""
    return a in kinds.get(type(a), ())


def not_member(kinds: Mapping[type, frozenset[Any]], a: Any) -> bool:
    """Present, and none of the constants."""
    return a is not None and not member(kinds, a)


COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": same,
    "!=": other,
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
}
COMPUTE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": _computed(operator.add),
    "-": _computed(operator.sub),
    "*": _computed(operator.mul),
    "/": _computed(operator.truediv),
    "%": _computed(operator.mod),
}
CALL: Final[dict[str, Callable[..., Any]]] = {
    "lower": lower,
    "upper": upper,
    "len": length,
    "startswith": startswith,
    "endswith": endswith,
    "contains": contains,
}

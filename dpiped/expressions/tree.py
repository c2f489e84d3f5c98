"""The parsed form of an expression: frozen nodes, each either a value or a condition (true or false, never absent)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar


@dataclass(frozen=True, slots=True)
class Field:
    path: str


@dataclass(frozen=True, slots=True)
class Negate:
    operand: Node


@dataclass(frozen=True, slots=True)
class Arithmetic:
    operator: str
    """One of + - * / %"""
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    """One of == != < <= > >="""
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class In:
    operand: Node
    values: tuple[Scalar, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Matches:
    operand: Node
    pattern: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Exists:
    path: str


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    operand: Node


@dataclass(frozen=True, slots=True)
class All:
    """`and` of two or more."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """`or` of two or more."""

    parts: tuple[Node, ...]


Node: TypeAlias = Literal | Field | Negate | Arithmetic | Compare | In | Matches | Exists | Call | Not | All | Either

FUNCTIONS = {"lower": 1, "upper": 1, "len": 1, "startswith": 2, "endswith": 2, "contains": 2}
"""Name -> number of arguments; `exists` is a node of its own, since it takes a field and not a value."""
CONDITION_FUNCTIONS = frozenset({"startswith", "endswith", "contains"})


def is_condition(node: Node) -> bool:
    """Whether the node is true or false by itself; a field counts when its value is `true`."""
    match node:
        case Call(function, _):
            return function in CONDITION_FUNCTIONS
        case Literal(value):
            return isinstance(value, bool)
        case Negate() | Arithmetic():
            return False
        case _:
            return True


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below."""
    match node:
        case Negate(operand) | Not(operand) | In(operand, _, _) | Matches(operand, _, _):
            return (operand,)
        case Arithmetic(_, left, right) | Compare(_, left, right):
            return (left, right)
        case Call(_, parts) | All(parts) | Either(parts):
            return parts
        case _:
            return ()


def fields_of(node: Node) -> frozenset[str]:
    """The paths of all fields that the expression reads."""
    return frozenset(each.path for each in _nodes(node) if isinstance(each, Field | Exists))


def valued_fields_of(node: Node) -> frozenset[str]:
    """The paths of those whose values matter, and not only whether they are there."""
    return frozenset(each.path for each in _nodes(node) if isinstance(each, Field))


def _nodes(node: Node) -> Iterator[Node]:
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(children(node))

"""The value of an expression for one event, by walking the tree: slow and plain, for tests and single events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpiped.expressions import values
from dpiped.expressions.patterns import compile_pattern
from dpiped.expressions.tree import (
    All,
    Arithmetic,
    Call,
    Compare,
    Either,
    Exists,
    Field,
    In,
    Literal,
    Matches,
    Negate,
    Node,
    Not,
)


def read(event: Mapping[str, Any], path: str) -> Any:
    """The value of a field: by its literal name first, then as steps into objects; null and objects are absent."""
    value = _plain(event.get(path))
    if value is not None or path == "@timestamp":
        return value
    step: Any = event
    for name in path.split("."):
        step = step.get(name) if isinstance(step, Mapping) else None
    return _plain(step)


def _plain(value: Any) -> Any:
    return None if isinstance(value, Mapping) else value


def holds(node: Node, event: Mapping[str, Any]) -> bool:
    """Whether the condition is true for the event."""
    match node:
        case All(parts):
            return all(holds(part, event) for part in parts)
        case Either(parts):
            return any(holds(part, event) for part in parts)
        case Not(operand):
            return not holds(operand, event)
        case _:
            return value_of(node, event) is True


def value_of(node: Node, event: Mapping[str, Any]) -> Any:
    """The value of a node; None = absent."""
    match node:
        case Literal(value):
            return value
        case Field(path):
            return read(event, path)
        case Exists(path):
            return read(event, path) is not None
        case Negate(operand):
            return values.negative(value_of(operand, event))
        case Arithmetic(operator, left, right):
            return values.COMPUTE[operator](value_of(left, event), value_of(right, event))
        case Compare(operator, left, right):
            return values.COMPARE[operator](value_of(left, event), value_of(right, event))
        case Call(function, parts):
            return values.CALL[function](*(value_of(part, event) for part in parts))
        case In(operand, constants, negated):
            value = value_of(operand, event)
            inside = any(values.same(value, constant) for constant in constants)
            return value is not None and inside is not negated
        case Matches(operand, pattern, negated):
            value = value_of(operand, event)
            return value is not None and values.found(compile_pattern(pattern), value) is not negated
        case _:
            return holds(node, event)

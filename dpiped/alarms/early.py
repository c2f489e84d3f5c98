"""Whether a `when` may hold because little has come: a window that has only begun would fulfil `count < 5`.

Metrics are taken to grow with the events of a window, as counts and sums do.
"""

from __future__ import annotations

from typing import Literal as OneOf

from dpiped.expressions.parser import parse
from dpiped.expressions.tree import Arithmetic, Compare, Field, In, Literal, Negate, Node, Not, Scalar, children

Trend = OneOf[-1, 0, 1]
"""Falls, stays or grows while events come."""


def wants_little(text: str) -> bool:
    """Whether it is better judged when windows close."""
    todo = [parse(text)]
    while todo:
        node = todo.pop()
        if isinstance(node, Not) or (isinstance(node, Compare | In) and _passes_by(node)):
            return True
        todo.extend(children(node))
    return False


def _passes_by(node: Compare | In) -> bool:
    """Whether it may hold for a while only, until more has come."""
    if isinstance(node, In):
        return any(map(_is_number, node.values))
    if node.operator in ("==", "!="):
        return any(isinstance(side, Literal) and _is_number(side.value) for side in (node.left, node.right))
    small, large = (node.left, node.right) if node.operator in ("<", "<=") else (node.right, node.left)
    return _trend(small) > 0 or _trend(large) < 0


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _trend(node: Node) -> Trend:
    match node:
        case Field():
            return 1
        case Negate(operand):
            return _turned(_trend(operand))
        case Arithmetic("-", left, right):
            return _trend(left) or _turned(_trend(right))
        case Arithmetic("*" | "/", left, right):
            trend = _trend(left) or _trend(right)
            return _turned(trend) if _is_negative(left) or _is_negative(right) else trend
        case Arithmetic(_, left, right):
            return _trend(left) or _trend(right)
        case _:
            return 0


def _is_negative(node: Node) -> bool:
    match node:
        case Literal(value):
            return _is_number(value) and value < 0  # type: ignore[operator]
        case Negate(Literal(value)):
            return _is_number(value) and value > 0  # type: ignore[operator]
        case _:
            return False


def _turned(trend: Trend) -> Trend:
    return 1 if trend < 0 else -1 if trend > 0 else 0

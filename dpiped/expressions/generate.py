"""Tree to one Python function over columns: `[condition for c0, c1 in zip(column0, column1)]`.

The Python tree is built by hand; every constant and function of the user's expression is an entry of the namespace, so
no text of a config ever becomes code. The common case, a field against a constant, calls no function of ours.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
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
    is_condition,
)

Mask = Callable[..., list[bool]]
_ORDER = {"<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def generate(node: Node, fields: Sequence[str]) -> Mask:
    """A function of one column for each field, in this order; at least one. Returns one bool for each event."""
    return _Generator(fields).function(node)


class _Generator:
    def __init__(self, fields: Sequence[str]) -> None:
        self.names = {path: f"c{number}" for number, path in enumerate(fields)}
        self.space: dict[str, Any] = {"__builtins__": {}, "zip": zip, "type": type, "nothing": ()}
        self.constants: dict[int, tuple[str, Any]] = {}

    def function(self, node: Node) -> Mask:
        columns = [f"column{number}" for number in range(len(self.names))]
        variables: list[ast.expr] = [ast.Name(name, ast.Store()) for name in self.names.values()]
        source: ast.expr
        if len(columns) == 1:
            target, source = variables[0], _name(columns[0])
        else:
            target = ast.Tuple(variables, ast.Store())
            source = ast.Call(_name("zip"), [_name(column) for column in columns], [])
        loop = ast.comprehension(target=target, iter=source, ifs=[], is_async=0)
        arguments = ast.arguments([], [ast.arg(column) for column in columns], None, [], [], None, [])
        body = ast.ListComp(self.condition(node), [loop])
        tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
        mask: Mask = eval(compile(tree, "<where>", "eval"), self.space)
        return mask

    def constant(self, value: Any) -> ast.expr:
        """A name in the namespace that stands for the value."""
        name, _ = self.constants.setdefault(id(value), (f"k{len(self.constants)}", value))
        self.space[name] = value
        return _name(name)

    def call(self, function: Callable[..., Any], *arguments: ast.expr) -> ast.expr:
        return ast.Call(self.constant(function), list(arguments), [])

    def condition(self, node: Node) -> ast.expr:
        """An expression that is True or False."""
        match node:
            case All(parts):
                return ast.BoolOp(ast.And(), [self.condition(part) for part in parts])
            case Either(parts):
                return ast.BoolOp(ast.Or(), [self.condition(part) for part in parts])
            case Not(operand):
                return ast.UnaryOp(ast.Not(), self.condition(operand))
            case Exists(path):
                return _is_not(_name(self.names[path]), ast.Constant(None))
            case Compare(operator, left, right):
                return self.compare(operator, left, right)
            case In(operand, constants, negated):
                return self.membership(operand, constants, negated)
            case Matches(operand, pattern, negated):
                return self.matches(operand, pattern, negated)
            case Call(function, parts) if is_condition(node):
                return self.call(values.CALL[function], *map(self.value, parts))
            case _:
                return _is(self.value(node), ast.Constant(True))

    def value(self, node: Node) -> ast.expr:
        """An expression for the value of any node; None = absent."""
        match node:
            case Literal(value):
                return self.constant(value)
            case Field(path):
                return _name(self.names[path])
            case Negate(operand):
                return self.call(values.negative, self.value(operand))
            case Arithmetic(operator, left, right):
                return self.call(values.COMPUTE[operator], self.value(left), self.value(right))
            case Call(function, parts):
                return self.call(values.CALL[function], *map(self.value, parts))
            case _:
                return self.condition(node)

    def compare(self, operator: str, left: Node, right: Node) -> ast.expr:
        if isinstance(left, Literal) and isinstance(right, Field):
            left, right, operator = right, left, _MIRRORED[operator]
        if isinstance(left, Field) and isinstance(right, Literal):
            return self.against(operator, _name(self.names[left.path]), right.value)
        return self.call(values.COMPARE[operator], self.value(left), self.value(right))

    def against(self, operator: str, field: ast.expr, value: Any) -> ast.expr:
        """A field compared with a constant: as few steps as the kinds of JSON allow."""
        constant = self.constant(value)
        if operator in _ORDER:
            kinds = {str: values.TEXTS, int: values.NUMBERS, float: values.NUMBERS}.get(type(value))
            if kinds is None:  # booleans have no order
                return ast.Constant(False)
            kind = ast.Call(_name("type"), [field], [])
            of_kind = ast.Compare(kind, [ast.In()], [self.constant(kinds)])
            return _both(of_kind, ast.Compare(field, [_ORDER[operator]()], [constant]))
        if isinstance(value, bool):
            equal: ast.expr = _is(field, ast.Constant(value))
        else:
            equal = ast.Compare(field, [ast.Eq()], [constant])
            if not isinstance(value, str) and value in (0, 1):  # to Python, True == 1
                equal = _both(equal, _is_not(field, ast.Constant(bool(value))))
        if operator == "==":
            return equal
        return _both(_is_not(field, ast.Constant(None)), ast.UnaryOp(ast.Not(), equal))

    def membership(self, operand: Node, constants: tuple[Any, ...], negated: bool) -> ast.expr:
        kinds = values.by_kind(constants)
        value = self.value(operand)
        if not isinstance(operand, Field):  # a value that is computed stands in the code once, or nesting doubles it
            function = values.not_member if negated else values.member
            return self.call(function, self.constant(kinds), value)
        of_kind = ast.Call(self.constant(kinds.get), [ast.Call(_name("type"), [value], []), _name("nothing")], [])
        if not negated:
            return ast.Compare(value, [ast.In()], [of_kind])
        return _both(_is_not(value, ast.Constant(None)), ast.Compare(value, [ast.NotIn()], [of_kind]))

    def matches(self, operand: Node, pattern: str, negated: bool) -> ast.expr:
        function = values.not_found if negated else values.found
        return self.call(function, self.constant(compile_pattern(pattern)), self.value(operand))


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _is(value: ast.expr, constant: ast.Constant) -> ast.expr:
    return ast.Compare(value, [ast.Is()], [constant])


def _is_not(value: ast.expr, constant: ast.Constant) -> ast.expr:
    return ast.Compare(value, [ast.IsNot()], [constant])


def _both(first: ast.expr, second: ast.expr) -> ast.expr:
    return ast.BoolOp(ast.And(), [first, second])

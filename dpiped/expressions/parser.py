"""Tokens to a tree, by precedence climbing. Errors name the place.

    or < and < not < == != < <= > >= in ~ !~ < + - < * / % < -x

Comparisons do not chain: `1 < a < 3` is refused, for its reading would surprise somebody.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Final

from dpiped.expressions.errors import WhereError
from dpiped.expressions.lexer import Token, tokenize
from dpiped.expressions.patterns import compile_pattern
from dpiped.expressions.tree import (
    FUNCTIONS,
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
    Scalar,
    is_condition,
)

MAX_DEPTH: Final = 50
"""Of parentheses, `not`, signs and chained arithmetic; deeper trees would end the interpreter's stack."""
COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_CONSTANTS: Final[dict[str, Scalar]] = {"true": True, "false": False, "null": None}


def parse(text: str) -> Node:
    """The tree of an expression; raises WhereError."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.next = 0
        self.depth = 0

    def whole(self) -> Node:
        if self.token.kind == "end":
            raise WhereError("the expression is empty", self.text, 0)
        node = self._condition(self._or)
        if self.token.kind != "end":
            raise self._error(f"unexpected {self.token.text!r}", self.token)
        return node

    @property
    def token(self) -> Token:
        return self.tokens[self.next]

    def _take(self, *texts: str) -> Token | None:
        """The next token if it is one of these signs or words."""
        token = self.token
        if token.kind in ("sign", "word") and token.text in texts:
            self.next += 1
            return token
        return None

    def _expect(self, text: str, after: Token) -> None:
        if self._take(text) is None:
            found = self.token.text or "the end"
            raise self._error(f"expected {text!r} for {after.text!r}, found {found!r}", self.token)

    def _error(self, message: str, token: Token) -> WhereError:
        return WhereError(message, self.text, token.at)

    def _deeper(self, token: Token) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep", token)

    def _condition(self, parse_node: Callable[[], Node]) -> Node:
        start = self.token
        node = parse_node()
        if not is_condition(node):
            raise self._error("expected a condition, such as a comparison or exists(field), found a value", start)
        return node

    def _or(self) -> Node:
        return self._chain("or", self._and, Either)

    def _and(self) -> Node:
        return self._chain("and", self._not, All)

    def _chain(self, word: str, below: Callable[[], Node], make: type[All] | type[Either]) -> Node:
        start = self.token
        parts = [below()]
        while self._take(word):
            parts.append(self._condition(below))
        if len(parts) == 1:
            return parts[0]
        if not is_condition(parts[0]):
            raise self._error(f"expected a condition before `{word}`, found a value", start)
        return make(tuple(parts))

    def _not(self) -> Node:
        token = self._take("not")
        if token is None:
            return self._comparison()
        self._deeper(token)
        node = Not(self._condition(self._not))
        self.depth -= 1
        return node

    def _comparison(self) -> Node:
        left = self._sum()
        token = self.token
        node = self._compared(left)
        if node is not left and self._at_comparison():
            raise self._error(f"comparisons do not chain after {token.text!r}: join them with `and`", self.token)
        return node

    def _at_comparison(self) -> bool:
        return self.token.kind in ("sign", "word") and self.token.text in COMPARISONS | {"~", "!~", "in"}

    def _compared(self, left: Node) -> Node:
        if token := self._take(*COMPARISONS):
            return self._compare(token, left, self._sum())
        if token := self._take("~", "!~"):
            return Matches(left, self._pattern(token), token.text == "!~")
        if token := self._take("in"):
            return In(left, self._list(token), False)
        if token := self._take("not"):
            if self._take("in") is None:
                raise self._error("expected `in` after `not`", self.token)
            return In(left, self._list(token), True)
        return left

    def _compare(self, token: Token, left: Node, right: Node) -> Node:
        nothing = Literal(None)
        if nothing not in (left, right):
            return Compare(token.text, left, right)
        field = left if right == nothing else right
        if not isinstance(field, Field) or token.text not in ("==", "!="):
            raise self._error("null can only be compared with a field, by == or !=", token)
        exists = Exists(field.path)
        return exists if token.text == "!=" else Not(exists)

    def _pattern(self, operator: Token) -> str:
        token = self.token
        if token.kind != "text" or not isinstance(token.value, str):
            raise self._error(f"expected a regular expression in quotes after {operator.text!r}", token)
        try:
            compile_pattern(token.value)
        except ValueError as exc:
            raise self._error(f"no regular expression (RE2): {exc}", token) from exc
        self.next += 1
        return token.value

    def _list(self, operator: Token) -> tuple[Scalar, ...]:
        opening = self.token
        if self._take("[") is None:
            raise self._error("expected a list after `in`, such as ['a', 'b'] or [1, 2]", self.token)
        values: list[Scalar] = []
        while self._take("]") is None:
            if values:
                self._expect(",", opening)
                if self._take("]"):
                    break
            values.append(self._constant())
        return tuple(values)

    def _constant(self) -> Scalar:
        token = self.token
        sign = -1 if self._take("-") else 1
        value = self.token
        if value.kind == "number" and isinstance(value.value, int | float):
            self.next += 1
            return sign * value.value
        if sign == 1 and value.kind == "text":
            self.next += 1
            return value.value
        if sign == 1 and self._take("true", "false"):
            return _CONSTANTS[value.text]
        raise self._error("a list holds numbers, texts, true and false", token)

    def _sum(self) -> Node:
        return self._arithmetic(("+", "-"), lambda: self._arithmetic(("*", "/", "%"), self._signed))

    def _arithmetic(self, signs: tuple[str, ...], below: Callable[[], Node]) -> Node:
        node = below()
        links = 0
        while token := self._take(*signs):
            self._deeper(token)
            links += 1
            node = Arithmetic(token.text, node, below())
        self.depth -= links
        return node

    def _signed(self) -> Node:
        token = self._take("-")
        if token is None:
            return self._primary()
        self._deeper(token)
        node = self._signed()
        self.depth -= 1
        if isinstance(node, Literal) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return Literal(-node.value)
        return Negate(node)

    def _primary(self) -> Node:
        token = self.token
        if token.kind in ("number", "text"):
            self.next += 1
            return Literal(token.value)
        if self._take("true", "false", "null"):
            return Literal(_CONSTANTS[token.text])
        if self._take("("):
            self._deeper(token)
            node = self._or()
            self._expect(")", token)
            self.depth -= 1
            return node
        if token.kind != "name":
            found = repr(token.text) if token.text else "the end"
            raise self._error(f"expected a field, a number, a text or a function, found {found}", token)
        self.next += 1
        if self._take("("):
            return self._call(token)
        return Field(str(token.value or token.text))

    def _call(self, name: Token) -> Node:
        self._deeper(name)
        arguments: list[Node] = []
        while self._take(")") is None:
            if arguments:
                self._expect(",", name)
            arguments.append(self._or())
        self.depth -= 1
        if name.text == "exists":
            if len(arguments) == 1 and isinstance(arguments[0], Field):
                return Exists(arguments[0].path)
            raise self._error("exists takes one field: exists(name)", name)
        if name.text not in FUNCTIONS:
            near = difflib.get_close_matches(name.text, [*FUNCTIONS, "exists"], 1)
            raise self._error(f"no function {name.text!r}" + (f"; did you mean {near[0]}?" if near else ""), name)
        if len(arguments) != FUNCTIONS[name.text]:
            raise self._error(f"{name.text} takes {FUNCTIONS[name.text]} values, found {len(arguments)}", name)
        return Call(name.text, tuple(arguments))

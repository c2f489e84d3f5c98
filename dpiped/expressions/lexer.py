"""Text to tokens."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from dpiped.expressions.errors import WhereError
from dpiped.expressions.tree import Scalar

MAX_LENGTH: Final = 10_000
"""Longer texts are refused: no one writes them by hand, and compiling them would block the start."""
KEYWORDS: Final = frozenset({"and", "or", "not", "in", "true", "false", "null"})

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>(?:[A-Za-z_@][A-Za-z0-9_@]*|`[^`]*`)(?:\.(?:[A-Za-z0-9_@]+|`[^`]*`))*)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<sign>==|!=|<=|>=|!~|[<>~+\-*/%(),\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_OF_PATTERNS = frozenset("dDwWsSbBAzpP")
"""Escapes of regular expressions stay as they are: patterns need no doubled backslashes. So do `\\.` and the like."""
_HINTS = {"=": "write ==", "&": "write `and`", "|": "write `or`", "!": "write `not`", "`": "the ` is not closed"}


class Token(NamedTuple):
    kind: str
    """"number", "text", "name" (a field or function), "word" (a keyword), "sign" or "end"."""
    text: str
    at: int
    value: Scalar = None
    """Of numbers and texts."""


def tokenize(text: str) -> list[Token]:
    """All tokens, the last one of kind "end"."""
    if len(text) > MAX_LENGTH:
        raise WhereError(f"longer than {MAX_LENGTH} characters", text, MAX_LENGTH)
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise WhereError(_complaint(text, at), text, at)
        if match.lastgroup != "space":
            tokens.append(_token(match, text))
        at = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _complaint(text: str, at: int) -> str:
    first = text[at]
    if first in "'\"":
        return f"the text that begins with {first} is not closed"
    hint = _HINTS.get(first)
    return f"unexpected {first!r}" + (f": {hint}" if hint else "")


def _token(match: re.Match[str], text: str) -> Token:
    kind, found, at = match.lastgroup or "", match[0], match.start()
    if kind == "number":
        return Token(kind, found, at, _number(found, text, at))
    if kind == "text":
        return Token(kind, found, at, _unescape(found[1:-1], text, at + 1))
    if kind == "name":
        if found in KEYWORDS:
            return Token("word", found, at)
        return Token(kind, _path(found, text, at), at)
    return Token(kind, found, at)


def _number(found: str, text: str, at: int) -> int | float:
    try:
        return int(found)
    except ValueError:
        number = float(found)
    if number == float("inf"):
        raise WhereError("this number is too large", text, at)
    return number


def _path(found: str, text: str, at: int) -> str:
    if "`" not in found:
        return found
    path = found.replace("`", "")
    if "" in path.split("."):
        raise WhereError("a part of this name is empty", text, at)
    return path


def _unescape(body: str, text: str, at: int) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5 and not 0xD800 <= int(code[1:], 16) <= 0xDFFF:
            return chr(int(code[1:], 16))
        if code in _ESCAPES:
            return _ESCAPES[code]
        if code in _OF_PATTERNS or not code.isalnum():
            return match[0]
        raise WhereError(f"unknown escape \\{code}", text, at + match.start())

    return _ESCAPE.sub(one, body)

"""Takes out of texts what differs from one happening to the next, so that equal things get equal texts.

    user 4711 failed from 10.0.0.7: "no such file"   ->   user ? failed from ?.?.?.?: ?

Own rules are applied first, in their order, for they are made for the text as it is. The known kinds are then searched
for together, in one pass from left to right; where two could begin, the larger thing wins, in whatever order they were
named.

Patterns of a config are RE2, linear on any text. The known kinds are ours and fixed, each linear by its making (nothing
that can be left is taken back: `++`), so Python's own `re` may search for them: 4 us a text of 130 characters, RE2 33.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import re2
from pydantic import AfterValidator, Field, model_validator

from dpiped.config.base import ConfigModel
from dpiped.expressions.patterns import compile_pattern, compiled

Kind = Literal["quoted", "email", "uuid", "hex", "digits"]
PATTERNS: dict[Kind, str] = {
    "quoted": r""""[^"]*"|(?:(?<!\w)|(?<=\b[bBuU]))'[^']*'""",
    "email": r"[A-Za-z0-9._%+-]{1,64}+@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++",
    "uuid": r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b",
    "hex": r"\b(?:0[xX]|(?=[a-fA-F]*+[0-9]))[0-9a-fA-F]++\b",
    "digits": r"[0-9]++",
}
"""The known kinds, the larger things first. `hex` wants a digit in it: `added` is a word. An apostrophe behind a letter
opens nothing, unless it is `b'..'`: what stands between those of `can't` and `user's` is no quotation.
"""
PLACEHOLDER = "?"
"""What stands for what was found."""
LONGEST = 4_096
"""Longer texts are cut there first: what is behind tells no two happenings apart, and costs time on the event loop."""


def _check_pattern(text: str) -> str:
    search = compile_pattern(text)
    if search("") is not None:
        raise ValueError("the pattern fits the empty text: it would be found everywhere")
    return text


class OwnRule(ConfigModel):
    """What to take out beside the known kinds."""

    pattern: Annotated[str, Field(min_length=1), AfterValidator(_check_pattern)] = Field(examples=["batch=[a-z]+"])
    """Regular expression (RE2)."""
    replace: str = PLACEHOLDER
    r"""What stands there instead; `\1` is the first group of the pattern."""

    @model_validator(mode="after")
    def _check_replace(self) -> OwnRule:
        try:
            match = re2.compile(f"(?:{self.pattern})|").search("")
            match.expand(self.replace)
        except Exception as exc:  # re2 tells a group that is not there by errors of several kinds
            raise ValueError("replace: it names a group that the pattern does not have") from exc
        return self


NormaliseRule = Kind | OwnRule
"""`"digits"`, or `{ pattern = "batch=[a-z]+", replace = "batch=?" }`."""


class Normaliser:
    """Applies rules to texts. Immutable; never raises for a text."""

    def __init__(self, rules: Iterable[NormaliseRule]) -> None:
        rules = tuple(rules)
        self._own = [(compiled(rule.pattern), _writer(rule.replace)) for rule in rules if isinstance(rule, OwnRule)]
        known = [pattern for kind, pattern in PATTERNS.items() if kind in rules]
        self._known = re.compile("|".join(known), re.ASCII) if known else None

    def texts(self, values: list[Any]) -> list[Any]:
        """The values with all texts normalised, shape (n_events,); what is no text stays as it is."""
        kinds = set(map(type, values))
        if str not in kinds:
            return values
        if kinds == {str}:
            known = {text: self.text(text) for text in dict.fromkeys(values)}
            return list(map(known.__getitem__, values))
        known = {text: self.text(text) for text in dict.fromkeys(value for value in values if type(value) is str)}
        return [known[value] if type(value) is str else value for value in values]

    def text(self, text: str) -> str:
        """One text."""
        text = text[:LONGEST]
        if self._own:
            data = text.encode("utf-8", "replace")  # RE2 is twice as fast on bytes
            for pattern, write in self._own:
                data = pattern.sub(write, data)
            text = data.decode("utf-8", "replace")
        return self._known.sub(PLACEHOLDER, text) if self._known else text


def _writer(replace: str) -> Callable[[Any], bytes]:
    """What `sub` asks for each match; a constant is not taken apart each time."""
    template = replace.encode()
    if b"\\" in template:
        return lambda match: bytes(match.expand(template))
    return lambda match: template

"""Matcher: which packs a filter or output gets.

A pattern is a dotted ident in which `*` stands for exactly one part and `**` for any number of parts, none included.
`PROJECT:PATTERN` takes packs of one project only. No patterns at all: every pack that an input gave, never what filters
emit. Idents that begin with `_dpipe` belong to the daemon: only a pattern whose first part is `_dpipe` reaches them. A
pack that is addressed to one runner goes to that one and to nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from dpiped.config.base import MAX_IDENT_LENGTH, is_name
from dpiped.errors import WrongArgumentError
from dpiped.pack import Head

ANY, MANY = "*", "**"
OWN_PREFIX = "_dpipe"
"""First part of the idents of the daemon itself."""
_PART = re.compile(r"[A-Za-z0-9_-]+")


class PatternError(WrongArgumentError):
    """The text is no pattern of idents."""


class Pattern:
    """One entry of `match`."""

    __slots__ = ("_literal", "parts", "project", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        project, colon, ident = text.rpartition(":")
        if colon and not is_name(project):
            raise PatternError(f"expected PROJECT:PATTERN, and {project!r} is no name of a project")
        self.project = project
        """Empty: packs of all projects."""
        self.parts = _merged(ident.split("."))
        for part in self.parts:
            if part not in (ANY, MANY) and _PART.fullmatch(part) is None:
                raise PatternError(
                    "expected dotted parts of letters, digits, _ and -, or * (one part) or ** (any number)"
                )
        if len(ident) > MAX_IDENT_LENGTH:
            raise PatternError(f"expected at most {MAX_IDENT_LENGTH} characters")
        self._literal = None if {ANY, MANY} & set(self.parts) else ident

    def matches(self, project: str, ident: str) -> bool:
        """Whether packs of this project and ident are meant. Linear in the parts of the ident, times those of `**`."""
        if self.project and self.project != project:
            return False
        if self._literal is not None:
            return ident == self._literal
        parts = ident.split(".")
        if parts[0] == OWN_PREFIX and self.parts[0] != OWN_PREFIX:
            return False
        return _overlap(self.parts, parts)

    def overlaps(self, other: Pattern) -> bool:
        """Whether there is a pack that both match."""
        if self.project and other.project and self.project != other.project:
            return False
        if (self.parts[0] == OWN_PREFIX) != (other.parts[0] == OWN_PREFIX):
            return False
        return _overlap(self.parts, other.parts)


class Matcher:
    """The patterns of one runner. Immutable; the router asks it once for each ident and remembers."""

    def __init__(self, match: Iterable[str], runner: str = "") -> None:
        """`runner` is the name under which packs are addressed to it. Raises PatternError."""
        self.patterns = tuple(Pattern(text) for text in match)
        self.runner = runner

    def matches(self, head: Head) -> bool:
        """Whether the runner gets the pack. A function of `only`, `project`, `ident` and whether `cause` is None."""
        if head.only:
            return head.only == self.runner
        if not self.patterns:
            return is_from_input(head)
        return any(pattern.matches(head.project, head.ident) for pattern in self.patterns)

    def can_match(self, pattern: str, from_input: bool = True) -> bool:
        """Whether it could get a pack whose ident fits the pattern, given by an input or emitted by a filter."""
        if not self.patterns:
            return from_input
        other = parsed(pattern)
        return any(own.overlaps(other) for own in self.patterns)


def is_from_input(head: Head) -> bool:
    """Whether an input gave the pack, and not a filter or the daemon itself."""
    return head.cause is None and head.ident.partition(".")[0] != OWN_PREFIX


@lru_cache(maxsize=4096)
def parsed(text: str) -> Pattern:
    """The pattern of a text; raises PatternError."""
    return Pattern(text)


def patterns_overlap(a: str, b: str) -> bool:
    """Whether there is an ident that both patterns match; an ident is a pattern too."""
    return parsed(a).overlaps(parsed(b))


def _merged(parts: Sequence[str]) -> tuple[str, ...]:
    """`**.**` is `**`."""
    return tuple(part for at, part in enumerate(parts) if part != MANY or at == 0 or parts[at - 1] != MANY)


def _overlap(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether some ident fits both; one row of the table of all pairs of prefixes at a time, so len(a) * len(b) steps.

    `reached[j]`: the parts of `a` read so far and the first j parts of `b` fit one and the same ident.
    """
    reached = [True, *(False for _ in b)]
    for j, part in enumerate(b):
        reached[j + 1] = reached[j] and part == MANY
    for one in a:
        row = [reached[0] and one == MANY]
        for j, other in enumerate(b):
            if MANY in (one, other):  # it stands for nothing, or takes one part more
                row.append(reached[j + 1] or row[j])
            else:
                row.append(reached[j] and (ANY in (one, other) or one == other))
        reached = row
    return reached[-1]

"""Names in a store by event time, project and fields of events, confined to what the config writes in front: indexes of
Elasticsearch, topics of Kafka.

    logs-{project}-%Y.%m.%d     strftime codes of the event's time in UTC; {project} {prefix} {ident} {host}
    logs-{_area}-%Y.%m          other names in braces are fields of the event

What no name of the store may have becomes `_`; an absent value is `none`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dpiped.codecs.times import DAY_MS

if TYPE_CHECKING:
    from dpiped.view import PackView

OF_HEAD = ("project", "prefix", "ident", "host")
ABSENT = "none"
HOUR_MS = 3_600_000
LONGEST_PART = 100
"""Characters of one value in a name."""
FIELD = re.compile(r"\{([^{}]*)\}")
CODE = re.compile(r"%(.)")
_CODES = "YmdHjGVuy"


@dataclass(frozen=True)
class NameRules:
    """What the names of one kind of store may be."""

    begin: re.Pattern[str]
    """How a template begins: literally, or with what the config of a project says."""
    literal: re.Pattern[str]
    """What it is besides fields and codes."""
    unsafe: re.Pattern[str]
    """A character that no name has."""
    longest: int
    expected: str
    """What a template begins with, for people."""
    allowed: str
    """What a template is made of, for people."""
    lower: bool = False
    """Values become lower case."""

    def check(self, text: str) -> None:
        """Raises ValueError with what is wrong with a template."""
        if not self.begin.match(text):
            raise ValueError(f"expected {self.expected}")
        for code in CODE.findall(text):
            if code not in _CODES:
                raise ValueError(f"unknown time code %{code}: expected one of {' '.join('%' + c for c in _CODES)}")
        if not self.literal.fullmatch(FIELD.sub("", CODE.sub("", text))):
            raise ValueError(f"{self.allowed}; fields stand in braces")
        if "" in FIELD.findall(text):
            raise ValueError("expected the name of a field between the braces")


class NameTemplate:
    """The names that one checked template gives.

    Args:
        prefix_of: project -> its `index_prefix`.
    """

    def __init__(self, text: str, rules: NameRules, prefix_of: Callable[[str], str]) -> None:
        self._text = text
        self._rules = rules
        self._prefix_of = prefix_of
        codes = set(CODE.findall(text))
        self._has_time = bool(codes)
        self._step_ms = HOUR_MS if "H" in codes else DAY_MS
        self._safe = lru_cache(maxsize=65_536)(self._make_safe)
        self._filled = lru_cache(maxsize=4_096)(self._fill)
        self._dated = lru_cache(maxsize=4_096)(self._date)
        self.fields = tuple(dict.fromkeys(name for name in FIELD.findall(text) if name not in OF_HEAD))
        """Fields of events that are read."""

    @property
    def literal(self) -> str | None:
        """The name, if it is always the same."""
        return None if self._has_time or "{" in self._text else self._text

    @property
    def pattern(self) -> str:
        """What matches all names that it can give: `logs-*`."""
        return re.sub(r"\*+", "*", FIELD.sub("*", CODE.sub("*", self._text)))

    def of(self, view: PackView) -> str | Sequence[str]:
        """The name for all events of a pack, or one for each; shape (view.count,)."""
        head = view.head
        text = self._filled(head.project, self._prefix_of(head.project), head.ident, head.host or ABSENT)
        steps: Sequence[int] = (0,)
        is_one = True
        if self._has_time:
            first, last = head.min_ts // self._step_ms, head.max_ts // self._step_ms
            is_one = first == last
            stamps: Any = (head.min_ts,) if is_one else view.column("@timestamp")
            steps = [stamp // self._step_ms for stamp in stamps]
        if is_one and not self.fields:
            return self._dated(text, steps[0])
        if is_one:
            steps = (steps[0],) * view.count
        columns = [[self._part(value) for value in view.column(name)] for name in self.fields]
        rows = zip(steps, *columns, strict=True)
        return [self._dated(_inserted(text, self.fields, values), step) for step, *values in rows]

    def _fill(self, *values: str) -> str:
        return _inserted(self._text, OF_HEAD, [self._part(value) for value in values])

    def _date(self, text: str, step: int) -> str:
        moment = time.gmtime(max(0, min(step * self._step_ms // 1000, 253_402_300_799)))
        return CODE.sub(lambda match: time.strftime(match[0], moment), text)[: self._rules.longest]

    def _part(self, value: Any) -> str:
        """A value from outside as a part of a name."""
        return self._safe(value if isinstance(value, str) else ABSENT if value is None else str(value))

    def _make_safe(self, text: str) -> str:
        text = text.lower() if self._rules.lower else text
        return self._rules.unsafe.sub("_", text)[:LONGEST_PART] or ABSENT


def _inserted(text: str, names: Sequence[str], values: Sequence[str]) -> str:
    for name, value in zip(names, values, strict=True):
        text = text.replace("{" + name + "}", value)
    return text

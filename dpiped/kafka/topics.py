"""Names of the topics that the output `kafka` writes to, confined to what its config writes in front.

    logs.{project}.%Y%m%d     strftime codes of the event's time in UTC; {project} {prefix} {ident} {host}
    logs.{_area}              other names in braces are fields of the event

What no topic may be called becomes `_`; an absent value is `none`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dpiped.kafka.config import DAY_MS, HOUR_MS, TOPIC

if TYPE_CHECKING:
    from dpiped.view import PackView

OF_HEAD = ("project", "prefix", "ident", "host")
ABSENT = "none"
MAX_BYTES = 249
_FIELD = re.compile(r"\{([^{}]*)\}")
_CODE = re.compile(r"%(.)")
_CODES = "YmdHjGVuy"
_BEGIN = re.compile(r"[A-Za-z0-9]|\{prefix\}|\{project\}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def check_topic(text: str) -> str:
    """Raises ValueError with what is wrong."""
    if not _BEGIN.match(text):
        raise ValueError("expected a topic that begins with a letter, a digit, {project} or {prefix}")
    for code in _CODE.findall(text):
        if code not in _CODES:
            raise ValueError(f"unknown time code %{code}: expected one of {' '.join('%' + c for c in _CODES)}")
    rest = _FIELD.sub("", _CODE.sub("", text))
    if rest and not TOPIC.fullmatch(rest):
        raise ValueError("topics have letters, digits, `.`, `_` and `-`; fields stand in braces")
    if "" in _FIELD.findall(text):
        raise ValueError("expected the name of a field between the braces")
    return text


class TopicNames:
    """The names that one checked template gives.

    Args:
        prefix_of: project -> its `index_prefix`.
    """

    def __init__(self, text: str, prefix_of: Callable[[str], str]) -> None:
        self._text = text
        self._prefix_of = prefix_of
        codes = set(_CODE.findall(text))
        self._has_time = bool(codes)
        self._step_ms = HOUR_MS if "H" in codes else DAY_MS
        self.fields = tuple(dict.fromkeys(name for name in _FIELD.findall(text) if name not in OF_HEAD))
        """Fields of events that are read."""

    @property
    def literal(self) -> str | None:
        """The name, if it is always the same."""
        return None if self._has_time or "{" in self._text else self._text

    def of(self, view: PackView) -> str | Sequence[str]:
        """The topic for all events of a pack, or one for each; shape (view.count,)."""
        head = view.head
        known = {
            "project": head.project,
            "prefix": self._prefix_of(head.project),
            "ident": head.ident,
            "host": head.host or ABSENT,
        }
        text = _filled(self._text, **known)
        steps: Sequence[int] = (0,)
        is_one = True
        if self._has_time:
            first, last = view.head.min_ts // self._step_ms, view.head.max_ts // self._step_ms
            is_one = first == last
            stamps: Any = (first * self._step_ms,) if is_one else view.column("@timestamp")
            steps = [stamp // self._step_ms for stamp in stamps]
        if is_one and not self.fields:
            return _dated(text, steps[0] * self._step_ms)
        if is_one:
            steps = (steps[0],) * view.count
        columns = [[_part(value) for value in view.column(name)] for name in self.fields]
        rows = zip(steps, *columns, strict=True)
        return [_dated(_inserted(text, self.fields, values), step * self._step_ms) for step, *values in rows]


@lru_cache(maxsize=4096)
def _filled(text: str, **known: str) -> str:
    for name, value in known.items():
        text = text.replace("{" + name + "}", _part(value))
    return text


def _inserted(text: str, names: Sequence[str], values: Sequence[str]) -> str:
    for name, value in zip(names, values, strict=True):
        text = text.replace("{" + name + "}", value)
    return text


@lru_cache(maxsize=4096)
def _dated(text: str, at_ms: int) -> str:
    moment = time.gmtime(max(0, min(at_ms // 1000, 253_402_300_799)))
    return _CODE.sub(lambda match: time.strftime(match[0], moment), text)[:MAX_BYTES]


def _part(value: Any) -> str:
    """A value from outside as a part of a name."""
    return _safe(value if isinstance(value, str) else ABSENT if value is None else str(value))


@lru_cache(maxsize=65_536)
def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text)[:100] or ABSENT

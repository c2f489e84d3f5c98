"""Index names: literal, by event time, project and fields of events, confined to what the config writes in front.

    logs-{project}-%Y.%m.%d     strftime codes of the event's time in UTC; {project} {prefix} {ident} {host}
    logs-{_area}-%Y.%m          other names in braces are fields of the event
    @ym @ymw @ymd               fun_PREFIX_2014_02, fun_PREFIX_2014_w07 (ISO week), fun_PREFIX_2014_02_09, as the
                                ancestor named them; `shop@ym` takes `shop` for the project's prefix

A value from outside becomes lower case, and what no index name may have becomes `_`; an absent one is `none`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpiped.view import PackView

OF_HEAD = ("project", "prefix", "ident", "host")
ABSENT = "none"
MAX_BYTES = 255
_PATTERN = re.compile(r"([a-z0-9_-]*)@(ym|ymw|ymd)")
_OLD = {"ym": "fun_{prefix}_%Y_%m", "ymw": "fun_{prefix}_%G_w%V", "ymd": "fun_{prefix}_%Y_%m_%d"}
_FIELD = re.compile(r"\{([^{}]*)\}")
_CODE = re.compile(r"%(.)")
_CODES = "YmdHjGVuy"
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_LITERAL = re.compile(r"[a-z0-9_.-]*")
_BEGIN = re.compile(r"[a-z0-9]|\{prefix\}|\{project\}")
_UNSAFE = re.compile(r"[^a-z0-9_.-]")


def check_index(text: str) -> str:
    """Raises ValueError with what is wrong."""
    full = _full(text)
    if not _BEGIN.match(full):
        raise ValueError("expected an index name that begins with a small letter, a digit, {project} or {prefix}")
    for code in _CODE.findall(full):
        if code not in _CODES:
            raise ValueError(f"unknown time code %{code}: expected one of {' '.join('%' + c for c in _CODES)}")
    rest = _FIELD.sub("", _CODE.sub("", full))
    if not _LITERAL.fullmatch(rest):
        raise ValueError("index names have small letters, digits, `-`, `_` and `.`; fields stand in braces")
    if "" in _FIELD.findall(full):
        raise ValueError("expected the name of a field between the braces")
    return text


def _full(text: str) -> str:
    """With the ancestor's short forms written out."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return text
    return _OLD[match[2]].replace("{prefix}", match[1]) if match[1] else _OLD[match[2]]


class IndexNames:
    """The names that one checked template gives.

    Args:
        prefix_of: project -> its `index_prefix`.
    """

    def __init__(self, text: str, prefix_of: Callable[[str], str]) -> None:
        self._text = _full(text)
        self._prefix_of = prefix_of
        codes = set(_CODE.findall(self._text))
        self.has_time = bool(codes)
        self._step_ms = _HOUR_MS if "H" in codes else _DAY_MS
        self.fields = tuple(dict.fromkeys(name for name in _FIELD.findall(self._text) if name not in OF_HEAD))
        """Fields of events that are read."""

    @property
    def is_literal(self) -> bool:
        """Whether it is always the same name."""
        return not self.has_time and "{" not in self._text

    @property
    def pattern(self) -> str:
        """What matches all names that it can give, for an index template: `logs-*`."""
        return re.sub(r"\*+", "*", _FIELD.sub("*", _CODE.sub("*", self._text)))

    def of(self, view: PackView) -> str | Sequence[str]:
        """The name for all events of a pack, or one for each; shape (view.count,)."""
        head = view.head
        known = {
            "project": head.project,
            "prefix": self._prefix_of(head.project),
            "ident": head.ident,
            "host": head.host or ABSENT,
        }
        if not self.has_time:
            steps: Sequence[int] = (0,) * view.count
            is_one = True
        else:
            first, last = head.min_ts // self._step_ms, head.max_ts // self._step_ms
            is_one = first == last
            steps = (first,) * view.count if is_one else self._steps(view)
        text = _filled(self._text, **known)
        if not self.fields:
            return _dated(text, steps[0] * self._step_ms) if is_one else [self._dated(text, step) for step in steps]
        columns = [[_part(value) for value in view.column(name)] for name in self.fields]
        rows = zip(steps, *columns, strict=True)
        return [self._dated(_inserted(text, self.fields, values), step) for step, *values in rows]

    def _steps(self, view: PackView) -> Sequence[int]:
        stamps: list[int] = view.column("@timestamp")  # type: ignore[assignment]
        return [stamp // self._step_ms for stamp in stamps]

    def _dated(self, text: str, step: int) -> str:
        return _dated(text, step * self._step_ms)


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
    text = _CODE.sub(lambda match: time.strftime(match[0], moment), text)
    return text.encode()[:MAX_BYTES].decode("ascii")


def _part(value: Any) -> str:
    """A value from outside as a part of a name."""
    return _safe(value if isinstance(value, str) else ABSENT if value is None else str(value))


@lru_cache(maxsize=65_536)
def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text.lower())[:100] or ABSENT

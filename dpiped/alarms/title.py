"""`title`: a text with `{name}` for fields of the group and values. Names are replaced and nothing else: no format, no
attribute, nothing is evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
LONGEST = 300
"""Characters of a title; it becomes the subject of a mail."""
LONGEST_VALUE = 100
"""Characters of a value in it."""
ABSENT = "-"
"""What stands for a value that is not there."""


def names_in(template: str) -> list[str]:
    """The names that it uses; raises ValueError for a brace that is not closed."""
    names = []
    for match in _PLACE.finditer(template):
        if match[1] is not None:
            names.append(match[1])
        elif match[0] not in ("{{", "}}"):
            raise ValueError("title: a brace is not closed; write {{ or }} for one that stands for itself")
    return names


def render(template: str, values: Mapping[str, Any]) -> str:
    """The title, one line without control characters."""

    def value(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else shown(_read(values, match[1]))

    return _CONTROL.sub(" ", _PLACE.sub(value, template))[:LONGEST]


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 2]}.."


def _read(values: Mapping[str, Any], path: str) -> Any:
    if path in values:
        return values[path]
    name, _, part = path.rpartition(".")
    inner = values.get(name)
    return inner.get(part) if isinstance(inner, Mapping) else None

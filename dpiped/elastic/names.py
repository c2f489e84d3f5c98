"""Index names: those of `dpiped.naming` in small letters, and the ancestor's short forms.

@ym @ymw @ymd     fun_PREFIX_2014_02, fun_PREFIX_2014_w07 (ISO week), fun_PREFIX_2014_02_09, as the ancestor named
                  them; `shop@ym` takes `shop` for the project's prefix
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dpiped.naming import NameRules, NameTemplate

RULES = NameRules(
    begin=re.compile(r"[a-z0-9]|\{prefix\}|\{project\}"),
    literal=re.compile(r"[a-z0-9_.-]*"),
    unsafe=re.compile(r"[^a-z0-9_.-]"),
    longest=255,
    expected="an index name that begins with a small letter, a digit, {project} or {prefix}",
    allowed="index names have small letters, digits, `-`, `_` and `.`",
    lower=True,
)
_SHORT = re.compile(r"([a-z0-9_-]*)@(ym|ymw|ymd)")
_LONG = {"ym": "fun_{prefix}_%Y_%m", "ymw": "fun_{prefix}_%G_w%V", "ymd": "fun_{prefix}_%Y_%m_%d"}


def check_index(text: str) -> str:
    """Raises ValueError with what is wrong."""
    RULES.check(_written_out(text))
    return text


def index_names(text: str, prefix_of: Callable[[str], str]) -> NameTemplate:
    """The names of a checked template; `prefix_of`: project -> its `index_prefix`."""
    return NameTemplate(_written_out(text), RULES, prefix_of)


def _written_out(text: str) -> str:
    """With the ancestor's short forms written out."""
    match = _SHORT.fullmatch(text)
    if match is None:
        return text
    return _LONG[match[2]].replace("{prefix}", match[1]) if match[1] else _LONG[match[2]]

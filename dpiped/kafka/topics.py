"""Names of the topics that the output `kafka` writes to: those of `dpiped.naming`, as Kafka takes them."""

from __future__ import annotations

import re
from collections.abc import Callable

from dpiped.naming import NameRules, NameTemplate

RULES = NameRules(
    begin=re.compile(r"[A-Za-z0-9]|\{prefix\}|\{project\}"),
    literal=re.compile(r"[A-Za-z0-9._-]{0,249}"),
    unsafe=re.compile(r"[^A-Za-z0-9._-]"),
    longest=249,
    expected="a topic that begins with a letter, a digit, {project} or {prefix}",
    allowed="topics have letters, digits, `.`, `_` and `-`",
)


def check_topic(text: str) -> str:
    """Raises ValueError with what is wrong."""
    RULES.check(text)
    return text


def topic_names(text: str, prefix_of: Callable[[str], str]) -> NameTemplate:
    """The names of a checked template; `prefix_of`: project -> its `index_prefix`."""
    return NameTemplate(text, RULES, prefix_of)

"""Puts what pydantic found into words: what was expected at a key."""

from __future__ import annotations

import re
from typing import Any

NUMBER_ERRORS = ("float_type", "float_parsing", "finite_number")
INTEGER_ERRORS = ("int_type", "int_parsing", "int_from_float", "int_parsing_size")
_FIXED = {
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dataclass_type": "a table",
    "none_required": "nothing",
    "url_parsing": "a URL such as http://host:9200",
    "url_type": "a URL such as http://host:9200",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_QUOTED = re.compile(r"'([^']*)'")


def expectation(error: Any, key: str) -> str:
    """What an error of pydantic (one of `ValidationError.errors()`) wants at this key, without "expected"."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _FIXED:
        return _FIXED[kind]
    if kind in NUMBER_ERRORS:
        return "a number" + _unit(key)
    if kind in INTEGER_ERRORS:
        if key.endswith("_bytes"):
            return 'a size such as 1048576, "64MiB" or "8GiB"'
        return "a whole number" + _unit(key)
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        limit = context[name]
        return f"{words} {limit:.12g}" if isinstance(limit, float) else f"{words} {limit}"
    if kind in ("literal_error", "enum"):
        return _QUOTED.sub(r'"\1"', str(context["expected"]))
    if kind == "union_tag_invalid":
        return "one of " + _QUOTED.sub(r'"\1"', str(context["expected_tags"]))
    if kind == "union_tag_not_found":
        return "a table with a key " + _QUOTED.sub(r'"\1"', str(context["discriminator"]))
    if kind in ("too_short", "string_too_short"):
        return f"at least {context['min_length']} " + ("characters" if kind.startswith("string") else "of them")
    if kind in ("too_long", "string_too_long"):
        return f"at most {context['max_length']} " + ("characters" if kind.startswith("string") else "of them")
    if kind == "string_pattern_mismatch":
        return f"text that matches {context['pattern']}"
    return _from_message(error["msg"])


def choices(error: Any) -> list[str]:
    """The texts that would have been right, if the error knows them."""
    context = error.get("ctx", {})
    return _QUOTED.findall(str(context.get("expected_tags") or context.get("expected") or ""))


def _unit(key: str) -> str:
    return " of seconds" if key.endswith("_secs") else " of milliseconds" if key.endswith("_ms") else ""


def _from_message(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return re.sub(r"^Input should be (a valid )?", "", message).removeprefix("expected ")

"""Regular expressions of a config: RE2, which takes linear time on any text."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2


def compiled(pattern: str) -> Any:
    """Searches bytes: given a text, RE2 counts its characters as well, which takes twice the time. Raises ValueError
    with the reason.
    """
    options = re2.Options()
    options.log_errors = False  # else the library itself writes to stderr
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as exc:
        reason = exc.args[0] if exc.args else exc
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from exc


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], Any]:
    """Searches a text for a pattern; None if it is not there. Raises ValueError with the reason."""
    search: Callable[[bytes], Any] = compiled(pattern).search
    return lambda text: search(text.encode())

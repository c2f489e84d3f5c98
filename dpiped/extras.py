"""Libraries that only some configs need."""

from __future__ import annotations

import importlib.util


def need(library: str, extra: str) -> None:
    """Raises ValueError with what to do where an optional library is not installed."""
    if importlib.util.find_spec(library) is None:
        raise ValueError(f"the library {library} is not installed: pip install 'dpipe[{extra}]'")

"""Globs of keys, by the rules by which `glob` finds files: `**` is any number of folders, `*` stays within one part,
and a name that begins with a dot is only matched by a part that does.
"""

from __future__ import annotations

import re
from fnmatch import translate

_MAGIC = re.compile(r"[*?[]")
_FOLDERS = "**"


class KeyGlob:
    """One pattern, compiled."""

    def __init__(self, pattern: str) -> None:
        magic = _MAGIC.search(pattern)
        self.literal = pattern[: magic.start()] if magic else pattern
        """What all keys that match begin with."""
        self.is_literal = magic is None
        parts = pattern.split("/")
        if parts[-1] == _FOLDERS:  # a folder is no file: something has to be in it
            parts.append("*")
        self._parts = [None if part == _FOLDERS else _Part(part) for part in parts]

    def matches(self, key: str) -> bool:
        """Follows all ways through the pattern at once: `at` are the parts that may come next."""
        at = self._reached({0})
        for name in key.split("/"):
            at = self._reached({after for place in at for after in self._after(place, name)})
        return len(self._parts) in at

    def _after(self, place: int, name: str) -> tuple[int, ...]:
        if place == len(self._parts):
            return ()
        part = self._parts[place]
        if part is None:
            return () if name.startswith(".") else (place,)
        return (place + 1,) if part.matches(name) else ()

    def _reached(self, places: set[int]) -> set[int]:
        """With those behind `**`, which may be no folder at all."""
        reached = set(places)
        for place, part in enumerate(self._parts):
            if part is None and place in reached:
                reached.add(place + 1)
        return reached


class _Part:
    """Between two slashes."""

    def __init__(self, pattern: str) -> None:
        self._match = re.compile(translate(pattern)).match
        self._shows_hidden = pattern.startswith(".")

    def matches(self, name: str) -> bool:
        return (self._shows_hidden or not name.startswith(".")) and self._match(name) is not None

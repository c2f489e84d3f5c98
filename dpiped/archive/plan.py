"""Plan: which files of an archive are read, in the order of their paths, and how far that has come.

The text, version 1, is JSON: {"version": 1, "done": NUMBER, "last": PATH, "beyond": [PATH, ..], "open": {PATH: SPOT}}.
All files up to `last` are finished, `done` of them, but for those in `open`; `beyond` are finished, too. Files of which
something cannot be read stay in `open`, and are tried again at the next start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from dpiped.archive.reader import Spot
from dpiped.errors import DpipeError

AHEAD = 256
"""So many files may be begun behind the first that is not finished."""


class _Stored(msgspec.Struct):
    version: int
    done: int
    last: str
    beyond: list[str]
    open: dict[str, Spot]


class Plan:
    """Not thread-safe."""

    def __init__(self, files: Iterable[tuple[str, int]], text: str | None) -> None:
        """`files`: (path, size) of what is there. Raises DpipeError when the text was not written by `text`."""
        self.sizes = dict(sorted(files))
        stored = _Stored(1, 0, "", [], {})
        if text is not None:
            try:
                stored = msgspec.json.decode(text, type=_Stored)
            except msgspec.MsgspecError as exc:
                raise DpipeError(f"position in an archive cannot be read: {exc}") from exc
            if stored.version != 1:
                raise DpipeError(f"position in an archive has version {stored.version}: written by a newer dpipe")
        self._open = stored.open
        self._beyond = set(stored.beyond)
        self._order: Sequence[str] = list(self.sizes)
        self._at = sum(path <= stored.last for path in self._order)
        """Index of the first file that is not known to be finished."""
        self._last, self._done = stored.last, stored.done
        self.late = max(0, self._at - stored.done)
        """Files that came among those that were finished already: they are not read."""
        self.unread: dict[str, str] = {}
        """Path -> why, of those of which something could not be read."""

    def left(self) -> Iterator[tuple[str, Spot]]:
        """What is to be read, in order. Ask for the next one only when fewer than AHEAD are behind the first."""
        again = [path for path in self._open if path <= self._last or path in self._beyond]
        for path in again:
            yield path, self._spot(path)
        for path in self._order[self._at :]:
            if path not in self._beyond:
                yield path, self._spot(path)

    def _spot(self, path: str) -> Spot:
        """One of which nothing was read yet may have become another file since."""
        known = self._open.get(path)
        if path in self.sizes and (known is None or known == Spot(known.size)):
            return Spot(self.sizes[path])
        return self._open[path]

    def is_ahead(self, path: str) -> bool:
        """Whether it has to wait for those before it."""
        return self._at + AHEAD < len(self._order) and path > self._order[self._at + AHEAD]

    def reached(self, path: str, spot: Spot) -> None:
        self._open[path] = spot

    def finished(self, path: str, why_unread: str = "") -> None:
        """`why_unread`: it is given up for this time, and stays open."""
        if why_unread:
            self.unread[path] = why_unread
            self._open.setdefault(path, Spot(self.sizes.get(path, 0)))
        else:
            self._open.pop(path, None)
        if path > self._last:
            self._beyond.add(path)
        while self._at < len(self._order) and self._order[self._at] in self._beyond:
            self._last = self._order[self._at]
            self._beyond.discard(self._last)
            self._at += 1
            self._done = self._at

    @property
    def files_done(self) -> int:
        return self._at + len(self._beyond)

    def text(self) -> str:
        stored = _Stored(1, self._done, self._last, sorted(self._beyond), self._open)
        return msgspec.json.encode(stored).decode()

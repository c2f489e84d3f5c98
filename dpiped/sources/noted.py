"""Tells metrics and log what a source counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from dpiped.telemetry import Telemetry

LOUD = {
    "truncated": "a file was truncated: what was not read of it, and stands in no copy beside it, is lost",
    "vanished": "a file vanished before it was read to its end",
    "unreadable": "a file cannot be opened or read",
    "gzip_damaged": "a gzip file is damaged or cut off: what could be read of it was taken",
    "line_cut": "lines were longer than max_line_bytes: their rest is lost",
    "kernel_dropped": "datagrams were lost because they came faster than they were read",
    "connection_refused": "a connection was closed because there are too many",
}
UNMATCHED = "a pattern of paths matches no file so far"
PACKED = "a file is compressed otherwise than by gzip and is not read; if it need not be, add its name to exclude"


class Noted:
    """Remembers what it told already."""

    def __init__(self, telemetry: Telemetry, plugin: str) -> None:
        self._telemetry = telemetry
        self._plugin = plugin
        self._told: Counter[str] = Counter()
        self._found: dict[str, frozenset[str]] = {}

    def tell(self, counts: Mapping[str, int]) -> None:
        """Adds what is new to the metric of noted events; what may mean loss is also logged."""
        for what, amount in counts.items():
            new = amount - self._told[what]
            if new <= 0:
                continue
            self._told[what] = amount
            self._telemetry.metrics.noted.labels(self._plugin, what).inc(new)
            if what in LOUD:
                self._telemetry.say(LOUD[what], plugin=self._plugin, detail=f"{new} times", level=logging.WARNING)

    def tell_found(self, text: str, found: Iterable[str]) -> None:
        """Logs what is found now, such as patterns or files, each once while it is found."""
        before, now = self._found.get(text, frozenset()), frozenset(found)
        self._found[text] = now
        for detail in sorted(now - before):
            self._telemetry.say(text, plugin=self._plugin, detail=detail, level=logging.WARNING)

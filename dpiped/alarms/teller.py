"""Findings to alarm events.

    {"@timestamp": when it was found out, "alarm": NAME, "state": "firing" | "again" | "resolved", "severity":,
     "score": severity times count, "title":, "reason":, "fingerprint":, "window_start":, "window_end":,
     "group": {field: value}, "values": {metric: value}, "previous": {metric: value}, "samples": [event, ..],
     <fields of the group, where no key above is called so>}

`previous` is only there where there was a previous window. Fingerprints are the same for ever for an alarm and group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from dpiped.alarms.board import Alarm, Board, Hit, Word
from dpiped.alarms.names import COUNT, Names
from dpiped.alarms.title import render, shown
from dpiped.plugin import PackDraft

Reason = Literal["threshold", "change", "yesterday", "last_week", "silence", "new", "instant"]
EVENTS_AT_ONCE = 100
"""In one emitted pack; an event is a few KiB at most."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Finding(NamedTuple):
    """A condition holds for a group."""

    reason: Reason
    group: dict[str, Any]
    values: dict[str, Any]
    start: int
    end: int
    project: str
    severity: int
    factor: float = 1.0
    """What the score is multiplied with."""
    previous: dict[str, Any] | None = None
    windowed: bool = False
    fresh: bool = True
    """As in `Hit`."""


class Teller:
    """Hands findings to the board, and writes the events that have to be told. Lines wait until `drafts` takes them."""

    def __init__(self, name: str, title: str | None, names: Names, board: Board) -> None:
        self._name = name
        self._title = title
        self._names = names
        self._board = board
        self._waiting: list[tuple[str, int, bytes]] = []
        """(project, time, line)."""

    def found(self, finding: Finding, samples: Callable[[], Sequence[bytes]]) -> None:
        """Something was found; `samples` is only asked for what is told."""
        score = finding.severity * max(1, finding.values[COUNT]) * finding.factor
        score = int(score) if float(score).is_integer() else score
        group = _encode(finding.group).decode()
        hit = Hit(
            fingerprint_of(self._name, group),
            group,
            finding.reason,
            finding.severity,
            score,
            self._title_of(finding, score),
            _encode(finding.values).decode(),
            finding.start,
            finding.end,
            finding.windowed,
            finding.project,
            finding.fresh,
        )
        if word := self._board.hit(hit):
            alarm = self._board.alarms.get(hit.fingerprint)
            assert alarm is not None
            event = self._event(alarm, word, min(finding.end, self._board.now_ms), (finding.start, finding.end))
            if finding.previous is not None:
                event["previous"] = finding.previous
            event["samples"] = msgspec.Raw(b"[" + b",".join(samples()) + b"]")
            self._put(alarm, event)

    def resolved(self, alarm: Alarm) -> None:
        """An alarm has ended."""
        at = min(alarm.window_end + self._board.rules.resolve_ms, self._board.now_ms)
        event = self._event(alarm, "resolved", at, (alarm.window_start, alarm.window_end))
        self._put(alarm, {**event, "samples": []})

    def _event(self, alarm: Alarm, word: Word, at: int, span: tuple[int, int]) -> dict[str, Any]:
        return {
            "@timestamp": at,
            "alarm": self._name,
            "state": word,
            "severity": alarm.severity,
            "score": alarm.score,
            "title": alarm.title,
            "reason": alarm.reason,
            "fingerprint": alarm.fingerprint,
            "window_start": span[0],
            "window_end": span[1],
            "group": msgspec.Raw(alarm.group.encode()),
            "values": msgspec.Raw(alarm.values.encode()),
        }

    def _put(self, alarm: Alarm, event: dict[str, Any]) -> None:
        """Writes the line; a field of the group that is called like another one stands in `group` only."""
        reserved = {*event, "previous"}
        event |= {name: value for name, value in _decode(alarm.group).items() if name not in reserved}
        self._waiting.append((alarm.project, event["@timestamp"], _encode(event) + b"\n"))

    def _title_of(self, finding: Finding, score: int | float) -> str:
        values = self._names.widen(finding.values)
        if self._title is None:
            return render(_default_title(finding), {**values, "alarm": self._name, "group": _words(finding.group)})
        own = {"alarm": self._name, "reason": finding.reason, "severity": finding.severity, "score": score}
        return render(self._title, {**values, **finding.group, **own})

    def drafts(self, *, all_of_them: bool = True) -> list[PackDraft]:
        """What waits to be emitted; without `all_of_them` only if it has become much."""
        if not self._waiting or (not all_of_them and len(self._waiting) < EVENTS_AT_ONCE):
            return []
        waiting, self._waiting = self._waiting, []
        by_project: dict[str, list[tuple[int, bytes]]] = {}
        for project, at, line in waiting:
            by_project.setdefault(project, []).append((at, line))
        return [_draft(project, some) for project, some in by_project.items()]


def _draft(project: str, some: Sequence[tuple[int, bytes]]) -> PackDraft:
    times = [at for at, _ in some]
    body = b"".join(line for _, line in some)
    return PackDraft(body, len(some), min(times), max(times), project=project, host="", source="")


def fingerprint_of(name: str, group: str) -> str:
    """16 hex digits that stand for an alarm and a group, which is JSON text."""
    return hashlib.blake2b(f"{name}\n{group}".encode(), digest_size=8).hexdigest()


def _default_title(finding: Finding) -> str:
    if finding.reason == "silence":
        text = "{alarm}: nothing came for {silent_secs} s"
    elif finding.reason == "new":
        text = "{alarm}: never seen before"
    elif "dropped" in finding.values:
        text = "{alarm}: syslog-ng dropped {dropped}"
    else:
        text = "{alarm}: {count} events" if finding.values[COUNT] != 1 else "{alarm}: 1 event"
    return f"{text} ({{group}})" if finding.group else text


def _words(group: dict[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in group.items())

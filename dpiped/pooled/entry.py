"""Entry: what a message to a person says of one event. Short, since the pool of them is saved with every cursor.

Any event makes one; those of the filter `alarm` bring title, severity, score, state, group, values and samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from dpiped.pack import Head
from dpiped.pooled.severity import number, severity_of

MAX_TITLE, MAX_VALUE, MAX_SAMPLE = 200, 100, 300
MAX_VALUES, MAX_SAMPLES = 12, 5
"""With the lengths above: an entry is of a few KiB, whatever the event was."""
_OWN = frozenset({"title", "severity", "score", "state", "group", "values", "previous", "samples", "fingerprint"})
_ELSEWHERE = frozenset({"@timestamp", "window_start", "window_end", "_host"})
"""What a message says in another place."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode
_STATES = ("firing", "again", "resolved")
WORDLESS = "an event whose text was refused: see the log of dpiped"
"""Title of what stands for it."""
CONTROL = dict.fromkeys((*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A)), " ")
"""Control characters, line ends of Unicode and what turns the direction of a text: none of them in a message."""


class Entry(msgspec.Struct, array_like=True):
    """Version 1 of what is stored; fields are only ever added, at the end."""

    at_ms: int
    """`@timestamp` of the event."""
    added_ms: int
    """When it came into the pool."""
    title: str
    severity: float
    score: float
    state: str = ""
    ident: str = ""
    project: str = ""
    host: str = ""
    group: str = ""
    fingerprint: str = ""
    values: list[tuple[str, str]] = []
    samples: list[str] = []
    times: int = 1
    """How many `again` events of the same alarm it stands for."""
    name: str = ""
    """EPOCH-OFFSET-LINE of the event."""
    window: tuple[int, int] | None = None


class Reading(NamedTuple):
    """How severities are read."""

    field: str
    default: float
    """Of events that bring none."""


def entry_of(line: bytes, head: Head, name: str, reading: Reading, now_ms: int) -> Entry:
    """The entry of one event of a canonical body, that has this name."""
    try:
        event = _decode(line)
    except (msgspec.DecodeError, RecursionError):  # a value that nothing can read, such as 1e400
        event = {"message": line.decode("utf-8", "replace")}
    own = severity_of(event, reading.field)
    grade = reading.default if own is None else own
    score = number(event.get("score"))
    start, end, at = (_ms(event.get(key)) for key in ("window_start", "window_end", "@timestamp"))
    return Entry(
        at_ms=head.min_ts if at is None else at,
        added_ms=now_ms,
        title=short(_title(event, line), MAX_TITLE),
        severity=grade,
        score=max(0.0, grade if score is None else score),
        state=short(event.get("state", ""), MAX_VALUE),
        ident=head.ident,
        project=head.project,
        host=short(event.get("_host", head.host), MAX_VALUE),
        group=short(_pairs(event.get("group")), MAX_TITLE),
        fingerprint=short(event.get("fingerprint", ""), MAX_VALUE),
        values=_values(event),
        samples=[short(sample, MAX_SAMPLE) for sample in _list(event.get("samples"))[:MAX_SAMPLES]],
        name=name,
        window=None if start is None or end is None else (start, end),
    )


def wordless(entry: Entry) -> Entry:
    """In its place where a service refuses it: how bad it is, when it was, and its name. No ident either, which a
    sender chooses."""
    return msgspec.structs.replace(
        entry,
        title=WORDLESS,
        state=entry.state if entry.state in _STATES else "",
        ident="",
        project="",
        host="",
        group="",
        values=[("event", entry.name)],
        samples=[],
    )


def _ms(value: object) -> int | None:
    """A time that can be stored; None for anything else."""
    return value if type(value) is int and abs(value) < 1 << 53 else None


def short(value: object, limit: int) -> str:
    """A value as text of one line, cut where it is long."""
    text = value if isinstance(value, str) else _encode(value).decode()
    text = text[: limit + 1].translate(CONTROL)
    return text if len(text) <= limit else text[: limit - 2] + " …"


def _titled(event: Mapping[str, Any]) -> str | None:
    """The field that is the title."""
    return next((key for key in ("title", "message") if isinstance(event.get(key), str) and event[key]), None)


def _title(event: Mapping[str, Any], line: bytes) -> str:
    key = _titled(event)
    return line.decode("utf-8", "replace") if key is None else str(event[key])


def _values(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures of an alarm, each with the one before it; of any other event its plain fields."""
    if not isinstance(figures := event.get("values"), Mapping):
        said = {*_OWN, *_ELSEWHERE, _titled(event)}
        plain = ((k, v) for k, v in event.items() if k not in said and not isinstance(v, dict | list))
        return [(short(name, MAX_VALUE), short(value, MAX_VALUE)) for name, value in _first(plain)]
    before = event.get("previous")
    old = before if isinstance(before, Mapping) else {}
    return [
        (short(name, MAX_VALUE), short(value, MAX_VALUE) + (f" (was {short(old[name], 40)})" if name in old else ""))
        for name, value in _first(figures.items())
    ]


def _first(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [pair for pair, _ in zip(pairs, range(MAX_VALUES), strict=False)]


def _pairs(value: object) -> str:
    if not isinstance(value, Mapping):
        return "" if value is None else short(value, MAX_TITLE)
    return ", ".join(f"{name}={short(inner, MAX_VALUE)}" for name, inner in _first(value.items()))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

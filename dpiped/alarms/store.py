"""State of an alarm beside that of its windows (`dpiped/panes/store.py`), by key. Numbers in keys are big-endian,
times plus 2**63. GROUP stands for the values of the fields of a group.

    x                        [ticks, journaled time, tick and time of the first event, start of the first pane]
    a FINGERPRINT(8)         an alarm: JSON, the fields of `board.Alarm` in their order
    s START(8) DIGEST(8)     samples of a group in a pane: [GROUP, [lines]]
    h END(8) PART(4)         what a window counted of some of its groups: [[GROUP, count], ..]
    w DIGEST(8)              when a group was heard of last: [GROUP, tick, time, project]
    n DIGEST(16)             a value that was seen: nothing

Values are msgpack where nothing else is said; digests are blake2b of the msgpack of GROUP or value.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from dpiped.aggregates.plain import storable, stored
from dpiped.alarms.board import Alarm
from dpiped.panes.shape import Key
from dpiped.panes.store import Change

CLOCK = b"x"
COUNTS_VERSION = 2
"""Of what windows counted; with 1 all groups of a window were one value."""
_TIME = struct.Struct(">cQ")
_PART = struct.Struct(">cQI")
_ZERO = 1 << 63
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_encode_alarm = msgspec.json.Encoder().encode
_decode_alarm = msgspec.json.Decoder(Alarm).decode


class AlarmClock(NamedTuple):
    """What an alarm knows of time beside its windows."""

    ticks: int = 0
    now_ms: int = 0
    first_tick: int = 0
    first_ms: int | None = None
    """When the first event came: tick and event time."""
    begin: int | None = None
    """Start of the first pane."""


def plain(key: Key) -> Any:
    """A group for msgpack."""
    return [storable(value) for value in key] if type(key) is tuple else storable(key)


def unplain(value: Any) -> Key:
    """The inverse of `plain`."""
    return tuple(stored(inner) for inner in value) if isinstance(value, list) else stored(value)


def key_bytes(key: Key) -> bytes:
    """A group as bytes that sort."""
    return _encode(plain(key))


def digest_of(value: Any, size: int = 8) -> bytes:
    """Stands for a group or value."""
    return hashlib.blake2b(_encode(plain(value)), digest_size=size).digest()


def clock_change(clock: AlarmClock) -> Change:
    """What is stored of the clock."""
    return CLOCK, _encode(clock)


def load_clock(value: bytes) -> AlarmClock:
    """The inverse."""
    return AlarmClock(*_decode(value))


def alarm_change(fingerprint: str, alarm: Alarm | None) -> Change:
    """What is stored of an alarm; here and below None = it is gone."""
    return b"a" + bytes.fromhex(fingerprint), None if alarm is None else _encode_alarm(alarm)


def load_alarm(value: bytes) -> Alarm:
    """The inverse."""
    return _decode_alarm(value)


def samples_change(place: tuple[int, Key], lines: list[bytes] | None) -> Change:
    """What is stored of the samples of a group in a pane."""
    start, key = place
    value = None if lines is None else _encode((plain(key), lines))
    return _TIME.pack(b"s", start + _ZERO) + digest_of(key), value


def load_samples(key: bytes, value: bytes) -> tuple[tuple[int, Key], list[bytes]]:
    """The inverse."""
    group, lines = _decode(value)
    return (_TIME.unpack(key[: _TIME.size])[1] - _ZERO, unplain(group)), lines


def counts_change(part: tuple[int, int], counts: Mapping[Key, int] | None) -> Change:
    """What is stored of what a window counted."""
    end, number = part
    value = None if counts is None else _encode([(plain(key), count) for key, count in counts.items()])
    return _PART.pack(b"h", end + _ZERO, number), value


def load_counts(key: bytes, value: bytes) -> tuple[tuple[int, int], dict[Key, int]]:
    """The inverse."""
    _, end, number = _PART.unpack(key)
    return (end - _ZERO, number), {unplain(group): count for group, count in _decode(value)}


def watched_change(key: Key, watched: Iterable[Any] | None) -> Change:
    """What is stored of when a group was heard of."""
    return b"w" + digest_of(key), None if watched is None else _encode((plain(key), *watched))


def load_watched(value: bytes) -> tuple[Key, tuple[int, int, str]]:
    """The inverse."""
    group, *rest = _decode(value)
    return unplain(group), tuple(rest)


def seen_change(digest: bytes, known: bool | None) -> Change:
    """What is stored of a value that was seen."""
    return b"n" + digest, b"" if known else None

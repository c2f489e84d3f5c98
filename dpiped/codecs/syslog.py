"""Codec `syslog`: RFC 5424 and RFC 3164, found out message by message, with or without the priority in front.

    <PRI>1 TIME HOST APP PROCID MSGID SD MSG     RFC 5424
    <PRI>Mmm dd hh:mm:ss HOST TAG[PID]: MSG      RFC 3164; HOST may be missing (local sockets), TIME may be RFC 3339
    <PRI>TAG[PID]: MSG                           the same without a time; TAG may be missing

Fields: `@timestamp host appname procid msgid facility severity message sd`, absent ones left out. A message without a
time gets the time of acceptance and is counted `time_missing`. What is of no form is kept as `message` (whole, but for
a priority that can be read) and counted `unparsed`; nothing is rejected. One NUL at the end is no part of a message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import repeat

import msgspec

from dpiped.codecs.base import BOM, Codec, DecodeContext, Decoded, Part, lacking
from dpiped.codecs.config import SyslogCodecConfig
from dpiped.codecs.framing import FrameSplitter, unfold
from dpiped.codecs.syslog_write import to_rfc5424
from dpiped.codecs.times import DAY_MS, Rfc3339, find_zone, nearest_year, to_ms

__all__ = ["FACILITIES", "SEVERITIES", "FrameSplitter", "SyslogCodec", "build"]

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock", *(f"local{number}" for number in range(8))),
)
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
LAST_PRIORITY = 191
NAMES = [(facility, severity) for facility in FACILITIES for severity in SEVERITIES]
"""Of each priority."""
_REMEMBERED = 10_000
_AT_ONCE_BYTES = 48 << 10
"""So much is read before the next is begun: of more, the parts leave the cache before they are used (measured: twice
the cost with 1 MiB).
"""
_MARK = "\ufeff"
"""A byte order mark, which may stand in front of a message; it is no part of it."""
_SD_ELEMENT = r'\[[^\s=\]"]+(?:\s+[^\s=\]"]+="(?:[^"\\]|\\.)*")*\s*\]'
_SD = re.compile(rf"(-|(?:{_SD_ELEMENT})+)(?: (.*))?\Z", re.DOTALL)
_SD_PARTS = re.compile(r'\[([^\s=\]"]+)|\s+([^\s=\]"]+)="((?:[^"\\]|\\.)*)"', re.DOTALL)
_SD_ESCAPE = re.compile(r'\\(["\\\]])')
_OLD = re.compile(
    r"(?:<(\d{1,3})>)?"
    r"([A-Z][a-z]{2} [ \d]?\d(?: \d{4})? \d\d:\d\d:\d\d(?:\.\d{1,6})?(?: [A-Z]{3,5}(?=: %))?"  # Cisco's zone
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?):? "
    r"(?:([^\s:\[\]]+|[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*[0-9A-Fa-f](?:%[\w.-]{1,32})?"
    r"|\[(?=[^\s\]]*::|(?:[^\s:\]]*:){7})[0-9A-Fa-f.:]+(?:%[\w.-]{1,32})?\]) )?"
    r"(?:(?!(?:CEF|LEEF):\d)([^\s:\[\]]{1,128})(?:\[([^\]\s]*)\])?: ?)?(.*)\Z",
    re.DOTALL | re.ASCII,
)
_USUAL_OLD = re.compile(
    r"<(\d{1,3})>"
    r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) "
    r"([\w.-]+) ([\w./-]{1,128})(?:\[(\d+)\])?: (.*)\Z",
    re.DOTALL | re.ASCII,
)
"""What most senders make of _OLD: the same groups in half the time."""
_BARE = re.compile(
    r"<(\d{1,3})>(?:([A-Za-z_/][\w./@()-]{0,47}+)(?:\[([\w.-]*)\])?: )?(.*)\Z",
    re.DOTALL | re.ASCII,
)
"""RFC 3164, 4.3.2 and 4.3.3. Only a plain word is a tag here, since with no time in front nothing else tells that the
line has the form at all: no number (Cisco counts its lines so), no `date=`, no JSON.
"""


class _Event(msgspec.Struct, gc=False, omit_defaults=True):
    timestamp: int = msgspec.field(name="@timestamp")
    peer: str | None = msgspec.field(name="_host", default=None)
    host: str | None = None
    appname: str | None = None
    procid: str | None = None
    msgid: str | None = None
    facility: str | None = None
    severity: str | None = None
    message: str | None = None
    sd: msgspec.Raw | None = None


class SyslogCodec(Codec):
    """Stateless but for what it remembers of times and structured data."""

    def __init__(self, zone: str = "UTC") -> None:
        self._zone = find_zone(zone)
        self._rfc3339 = Rfc3339(self._zone)
        self._starts = {f"<{number}>1": names for number, names in enumerate(NAMES)}
        self._old_times: dict[tuple[str, int], int | None] = {}
        self._sds: dict[str, msgspec.Raw] = {}

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        """One message a line; folded ones are unfolded."""
        counts: Counter[str] = Counter()
        encode = msgspec.json.Encoder().encode_lines
        peers: Iterator[str | None] = repeat(None) if context.hosts is None else iter(context.hosts)
        bodies, stamps = [], []
        for piece in self.cut(data.removeprefix(BOM), _AT_ONCE_BYTES):
            events = self._events(_messages(piece, peers, counts), context.accepted_ms, counts)
            bodies.append(encode(events))
            stamps += [event.timestamp for event in events]
        if not stamps:
            return Decoded(counts=counts)
        part = Part("", b"".join(bodies), len(stamps), min(stamps), max(stamps), None, lacking(context.hosts))
        return Decoded([part], counts=counts)

    def encode(self, body: bytes) -> bytes:
        """RFC 5424 lines; line breaks in messages become blanks."""
        return to_rfc5424(body)

    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        from dpiped.codecs.lines import cut_lines  # here, because it needs numpy

        return cut_lines(data, most_bytes)

    def _events(
        self, messages: Iterable[tuple[str, str | None]], accepted_ms: int, counts: Counter[str]
    ) -> list[_Event]:
        """RFC 5424 whose time and form are known is put together here; all else goes the long way, but for what mostly
        follows a message of RFC 3164: another one.
        """
        starts, dates, rests, sds = self._starts, self._rfc3339.dates, self._rfc3339.rests, self._sds
        events: list[_Event] = []
        may_be_old = False
        for text, peer in messages:
            if may_be_old and (match := _USUAL_OLD.match(text)) and (event := self._old_form(match, accepted_ms)):
                event.peer = peer
                events.append(event)
                continue
            try:
                start, time, host, appname, procid, msgid, rest = text.split(" ", 6)
                facility, severity = starts[start]
                ms = dates[time[:19]] + rests[time[19:]]
                if rest[:2] == "- ":
                    sd, message = None, rest[2:]
                else:
                    known, bracket, message = rest.partition("] ")
                    sd = sds.get(known + bracket)
                    if sd is None:
                        sd, message = self._tail(rest)
            except (KeyError, ValueError):
                event = self._event(text, accepted_ms, counts)
                event.peer = peer
                events.append(event)
                may_be_old = event.sd is None
                continue
            may_be_old = False
            if message[:1] == _MARK:
                message = message[1:]
            events.append(
                _Event(
                    ms,
                    peer,
                    None if host == "-" else host or None,
                    None if appname == "-" else appname or None,
                    None if procid == "-" else procid or None,
                    None if msgid == "-" else msgid or None,
                    facility,
                    severity,
                    message,
                    sd,
                )
            )
        return events

    def _event(self, text: str, accepted_ms: int, counts: Counter[str]) -> _Event:
        fields = text.split(" ", 6)
        priority = fields[0]
        if len(fields) == 7 and priority[-2:] == ">1":
            event = self._new_form(fields, accepted_ms, counts)
            if event is not None:
                return event
        match = _OLD.match(text)
        if match is not None:
            event = self._old_form(match, accepted_ms)
            if event is not None:
                return event
        if priority[-2:] == ">1" and len(fields) == 6 and fields[5] and "-" in text:
            event = self._new_form([*fields, "-"], accepted_ms, counts)
            if event is not None:
                return event
        return self._bare_form(text, accepted_ms, counts)

    def _new_form(self, fields: list[str], accepted_ms: int, counts: Counter[str]) -> _Event | None:
        """RFC 5424, section 6; a blank where a nil dash belongs is taken for one."""
        priority, time, host, appname, procid, msgid, rest = fields
        names = self._starts.get(priority)
        if names is None:
            return None
        if time == "-":
            ms: int | None = accepted_ms
            counts["time_missing"] += 1
        else:
            ms = self._rfc3339.parse(time)
        found = self._split_sd(rest)
        if ms is None or found is None:
            return None
        sd, message = found
        if message is not None:
            message = message.removeprefix(_MARK)
        return _Event(
            ms,
            None,
            host if host not in NIL else None,
            appname if appname not in NIL else None,
            procid if procid not in NIL else None,
            msgid if msgid not in NIL else None,
            names[0],
            names[1],
            message,
            sd,
        )

    def _tail(self, rest: str) -> tuple[msgspec.Raw | None, str]:
        """What `_split_sd` says; raises ValueError if there is no message, or anything else to think about."""
        found = self._split_sd(rest)
        if found is None or found[1] is None:
            raise ValueError(rest)
        return found[0], found[1]

    def _split_sd(self, rest: str) -> tuple[msgspec.Raw | None, str | None] | None:
        """(structured data as JSON, message) of the end of an RFC 5424 message; None if it is malformed."""
        if rest[:2] == "- ":
            return None, rest[2:]
        sd, bracket, message = rest.partition("] ")
        known = self._sds.get(sd + bracket)
        if known is not None:
            return known, message
        match = _SD.match(rest)
        if match is None:
            return None
        text: str = match[1]
        if text == "-":
            return None, match[2]
        raw = msgspec.Raw(msgspec.json.encode(_read_sd(text)))
        if text == sd + "]":  # then whatever begins so can be cut at its first `] `
            if len(self._sds) > _REMEMBERED:
                self._sds.clear()
            self._sds[text + " "] = raw
        return raw, match[2]

    def _old_form(self, match: re.Match[str], accepted_ms: int) -> _Event | None:
        priority, time, host, tag, pid, message = match.groups()
        names: tuple[str | None, str | None] = (None, None)
        if priority is not None:
            if int(priority) > LAST_PRIORITY:
                return None
            names = NAMES[int(priority)]
        ms = self._rfc3339.parse(time) if time[0].isdigit() else self._old_time(time, accepted_ms)
        if ms is None:
            return None
        if host is not None and host[0] == "[":
            host = host[1:-1]
        return _Event(ms, None, host, tag, pid or None, None, names[0], names[1], message)

    def _bare_form(self, text: str, accepted_ms: int, counts: Counter[str]) -> _Event:
        """Whatever has no time that can be read: its priority is one all the same (RFC 3164, 4.3.3)."""
        match = _BARE.match(text)
        if match is None or int(match[1]) > LAST_PRIORITY:
            counts["unparsed"] += 1
            return _Event(accepted_ms, message=text)
        priority, tag, pid, message = match.groups()
        counts["unparsed" if message[:2] == "1 " and tag is None else "time_missing"] += 1  # RFC 5424, but malformed
        facility, severity = NAMES[int(priority)]
        return _Event(accepted_ms, None, None, tag, pid or None, None, facility, severity, message)

    def _old_time(self, text: str, accepted_ms: int) -> int | None:
        key = text, accepted_ms // DAY_MS
        if key not in self._old_times:
            if len(self._old_times) > _REMEMBERED:
                self._old_times.clear()
            self._old_times[key] = self._parse_old_time(text, accepted_ms)
        return self._old_times[key]

    def _parse_old_time(self, text: str, accepted_ms: int) -> int | None:
        words = text.split()
        zone = self._zone
        if words[-1].isalpha():
            zone = UTC if words.pop() in ("UTC", "GMT") else zone
        fraction = ".%f" if "." in words[-1] else ""
        year = words.pop(2) if len(words) == 4 else "2000"  # a leap year, so that 29 February can be read
        try:
            moment = datetime.strptime(f"{year} {' '.join(words)}", f"%Y %b %d %H:%M:%S{fraction}")  # noqa: DTZ007
        except ValueError:
            return None
        with_zone: datetime | None = moment.replace(tzinfo=zone)
        if year == "2000" and " 2000 " not in text:
            with_zone = nearest_year(moment.replace(tzinfo=zone), accepted_ms)
        return None if with_zone is None else to_ms(with_zone)


NIL = frozenset(("-", ""))


def build(config: SyslogCodecConfig) -> Codec:
    """The codec of this config."""
    return SyslogCodec(config.zone)


def _read_sd(text: str) -> dict[str, dict[str, str]]:
    """Structured data as an object of objects; of a name that comes twice the last counts."""
    elements: dict[str, dict[str, str]] = {}
    element: dict[str, str] = {}
    escaped = "\\" in text
    for element_id, name, value in _SD_PARTS.findall(text):
        if element_id:
            element = elements.setdefault(element_id, {})
        else:
            element[name] = _SD_ESCAPE.sub(r"\1", value) if escaped else value
    return elements


def _messages(piece: bytes, peers: Iterator[str | None], counts: Counter[str]) -> Iterable[tuple[str, str | None]]:
    """(text, peer) of the messages in some lines; empty ones are left out. Takes a peer for each line."""
    lines = piece.removesuffix(b"\n")
    if b"\0" not in lines and b"\r" not in lines:
        with suppress(UnicodeDecodeError):
            texts = lines.decode().split("\n")
            if "" not in texts:
                return zip(texts, peers, strict=False)
    frames = [unfold(line).removesuffix(b"\0").removesuffix(b"\r") for line in lines.split(b"\n")]
    return [(_text(frame, counts), peer) for frame, peer in zip(frames, peers, strict=False) if frame]


def _text(frame: bytes, counts: Counter[str]) -> str:
    try:
        return frame.decode()
    except UnicodeDecodeError:
        counts["invalid_utf8"] += 1
        return frame.decode(errors="replace")

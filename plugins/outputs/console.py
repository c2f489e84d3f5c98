"""Output `console`: prints events to the terminal, in the colours of their severity.

Delivery: at least once. What was printed before a crash and after the last saved cursor is printed again. Control
characters of an event are escaped, so that no log line can steer the terminal it is shown on.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import Annotated, Any

import msgspec
from pydantic import Field

from dpiped.api import SEVERITIES, Batch, Output, PluginConfig, TemporaryError, printable, register, severity_of

_TIME, _KEY, _OFF, _BLINK, _BELL = "\x1b[36m", "\x1b[2m", "\x1b[0m", "\x1b[5m", "\a"
_RESOLVED = "\x1b[32m"
_COLORS = (
    (SEVERITIES["crit"], "\x1b[1;31m"),
    (SEVERITIES["error"], "\x1b[31m"),
    (SEVERITIES["warning"], "\x1b[33m"),
)
"""From this severity on; the first that holds."""
_IN_JSON = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
"""Those that may stand in JSON as they are, in UTF-8."""


class ConsoleConfig(PluginConfig):
    fields: tuple[str, ...] = ()
    """Only these top-level fields, in this order; by default the whole event."""
    pretty: bool = False
    """One field a line, indented."""
    color: bool | None = None
    """By default when standard output is a terminal and NO_COLOR is not set. Only then anything blinks or rings."""
    severity_field: Annotated[str, Field(min_length=1)] = "severity"
    """Where an event says how bad it is: a number, higher = worse, or a name of syslog such as `error`."""
    blink_severity: float | None = Field(default=None, examples=[100])
    """Events of this severity and above blink; by default none does."""
    bell_severity: float | None = Field(default=None, examples=[200])
    """For events of this severity and above the bell rings, once a batch; by default it never does."""


@register("console")
class ConsoleOutput(Output[ConsoleConfig]):
    async def open(self, saved: bytes | None) -> None:
        color = self.config.color
        self._color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") if color is None else color

    async def write(self, batch: Batch) -> None:
        try:
            await asyncio.to_thread(self._print, batch)
        except OSError as exc:
            raise TemporaryError("print to standard output") from exc

    def _print(self, batch: Batch) -> None:
        sys.stdout.buffer.write(self._text_of(batch.body))
        sys.stdout.buffer.flush()

    def _text_of(self, body: bytes) -> bytes:
        if self._color:
            shown = [self._show(_event_of(line)) for line in body.splitlines()]
            rings = any(is_loud for _, is_loud in shown)
            return "".join([text for text, _ in shown] + [_BELL] * rings).encode()
        if self.config.fields or self.config.pretty:
            body = b"".join(self._plain(_event_of(line)) for line in body.splitlines())
        return _IN_JSON.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), body)

    def _wanted(self, event: dict[str, Any]) -> dict[str, Any]:
        if not self.config.fields:
            return event
        return {name: event[name] for name in self.config.fields if name in event}

    def _plain(self, event: dict[str, Any]) -> bytes:
        text = msgspec.json.encode(self._wanted(event))
        return (msgspec.json.format(text, indent=2) if self.config.pretty else text) + b"\n"

    def _show(self, event: dict[str, Any]) -> tuple[str, bool]:
        """(coloured text, whether the bell rings for it)."""
        config, severity = self.config, severity_of(event, self.config.severity_field)
        color = _color_of(severity, event)
        if _reaches(severity, config.blink_severity):
            color += _BLINK
        pieces = [_member(name, value, color) for name, value in self._wanted(event).items()]
        text = ("\n  " if config.pretty else " ").join(pieces) + "\n"
        return text, _reaches(severity, config.bell_severity)


def _reaches(severity: float | None, mark: float | None) -> bool:
    return severity is not None and mark is not None and severity >= mark


def _color_of(severity: float | None, event: dict[str, Any]) -> str:
    if event.get("state") == "resolved":
        return _RESOLVED
    return next((color for mark, color in _COLORS if _reaches(severity, mark)), "")


def _member(name: str, value: object, color: str) -> str:
    """One field; control characters of a log line never reach the terminal."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    color = _TIME if name == "@timestamp" else color
    return f"{_KEY}{printable(name)}={_OFF}{color}{printable(text)}{_OFF if color else ''}"


def _event_of(line: bytes) -> dict[str, Any]:
    """An event; a value that cannot be read, such as 1e400, is its text."""
    try:
        event: dict[str, Any] = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return {name: _value_of(raw) for name, raw in msgspec.json.decode(line, type=dict[str, msgspec.Raw]).items()}
    return event


def _value_of(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return bytes(raw).decode()

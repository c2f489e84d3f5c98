"""Output `console`: prints events to the terminal.

Delivery: at least once. What was printed before a crash and after the last saved cursor is printed again. Control
characters of an event are escaped, so that no log line can steer the terminal it is shown on.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import Any

import msgspec

from dpiped.api import Batch, Output, PluginConfig, TemporaryError, register

_TIME, _KEY, _OFF = "\x1b[36m", "\x1b[2m", "\x1b[0m"
_TURNING = (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Line ends of Unicode, and what turns the direction of the text behind it."""
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {code: f"\\u{code:04x}" for code in _TURNING}
_IN_JSON = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
"""Those that may stand in JSON as they are, in UTF-8."""


class ConsoleConfig(PluginConfig):
    fields: tuple[str, ...] = ()
    """Only these top-level fields, in this order; by default the whole event."""
    pretty: bool = False
    """One field a line, indented."""
    color: bool | None = None
    """By default when standard output is a terminal and NO_COLOR is not set."""


@register("console")
class ConsoleOutput(Output[ConsoleConfig]):
    async def open(self, saved: bytes | None) -> None:
        color = self.config.color
        self._color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") if color is None else color

    async def write(self, batch: Batch) -> None:
        if self._color or self.config.fields or self.config.pretty:
            data = "".join(self._show(line) for line in batch.body.splitlines()).encode()
        else:
            data = batch.body
        try:
            await asyncio.to_thread(self._print, data)
        except OSError as exc:
            raise TemporaryError("print to standard output") from exc

    def _print(self, data: bytes) -> None:
        if not self._color:  # else it was done field by field
            data = _IN_JSON.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), data)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def _show(self, line: bytes) -> str:
        event: dict[str, Any] = msgspec.json.decode(line)
        if self.config.fields:
            event = {name: event[name] for name in self.config.fields if name in event}
        if not self._color:
            text = msgspec.json.encode(event)
            return (msgspec.json.format(text, indent=2) if self.config.pretty else text).decode() + "\n"
        pieces = [self._member(name, value) for name, value in event.items()]
        return ("\n  " if self.config.pretty else " ").join(pieces) + "\n"

    @staticmethod
    def _member(name: str, value: object) -> str:
        """One field; control characters of a log line never reach the terminal."""
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        color = _TIME if name == "@timestamp" else ""
        return f"{_KEY}{name.translate(_CONTROL)}={_OFF}{color}{text.translate(_CONTROL)}{_OFF if color else ''}"

"""Output `console`: prints events to the terminal.

Delivery: at least once. What was printed before a crash and after the last saved cursor is printed again.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgspec

from dpiped.api import Batch, Output, PluginConfig, TemporaryError, register

_TIME, _KEY, _OFF = "\x1b[36m", "\x1b[2m", "\x1b[0m"
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))}


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

    @staticmethod
    def _print(data: bytes) -> None:
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

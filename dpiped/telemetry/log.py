"""How log records are written: one line each, for people or as JSON, on standard error.

    2026-11-22T01:02:03.123Z INFO listening plugin=collectors detail="127.0.0.1:9800"
    {"time":"2026-11-22T01:02:03.123Z","level":"info","text":"listening","plugin":"collectors",..}

Control characters inside a text are escaped, so a record never becomes two lines and never steers a terminal. What
`dpiped.hidden` knows is never written.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

from dpiped.hidden import blot

LogFormat = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error")
_COLORS = {logging.DEBUG: "\x1b[2m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}
UNSAFE = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Characters that end a line, steer a terminal or turn the direction of what follows, for a class of a pattern."""
_PLAIN = re.compile(rf"[^\s\"'=\\{UNSAFE}]+")
_UNSAFE = re.compile(rf"[{UNSAFE}]")


class LineFormatter(logging.Formatter, ABC):
    """Common to both forms: the time, the details that telemetry attached, and no secret."""

    def __init__(self, *, tracebacks: bool = False) -> None:
        super().__init__()
        self.tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        return blot(self.line(record, self._details(record)))

    @abstractmethod
    def line(self, record: logging.LogRecord, details: dict[str, Any]) -> str:
        """The record as one line, without the line break."""

    def _details(self, record: logging.LogRecord) -> dict[str, Any]:
        details = dict(getattr(record, "details", {}))
        if record.name.partition(".")[0] != "dpipe":
            details["logger"] = record.name
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            details["error"] = f"{type(error).__name__}: {error}"
            if self.tracebacks:
                details["traceback"] = self.formatException(record.exc_info)
        return details


class TextFormatter(LineFormatter):
    """For people."""

    def __init__(self, *, tracebacks: bool = False, color: bool = False) -> None:
        super().__init__(tracebacks=tracebacks)
        self.color = color

    def line(self, record: logging.LogRecord, details: dict[str, Any]) -> str:
        level = record.levelname
        if self.color and record.levelno in _COLORS:
            level = f"{_COLORS[record.levelno]}{level}\x1b[0m"
        pairs = "".join(f" {name}={_shown(value)}" for name, value in details.items())
        return f"{_time(record)} {level} {_one_line(record.getMessage())}{pairs}"


class JsonFormatter(LineFormatter):
    """For programs: one object a line; details stand beside `time`, `level` and `text`."""

    def line(self, record: logging.LogRecord, details: dict[str, Any]) -> str:
        own = {"time": _time(record), "level": record.levelname.lower(), "text": record.getMessage()}
        line = msgspec.json.encode(
            own | {name: value for name, value in details.items() if name not in own}, enc_hook=str
        ).decode()
        return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def setup_logging(
    level: str = "info", log_format: LogFormat = "text", *, tracebacks: bool = False, stream: TextIO | None = None
) -> LineFormatter:
    """Sends all logging of the process to one handler; other libraries speak from warning on.

    Colours only on a terminal, and not when NO_COLOR is set.
    """
    stream = stream or sys.stderr
    color = stream.isatty() and not os.environ.get("NO_COLOR")
    formatter: LineFormatter = (
        JsonFormatter(tracebacks=tracebacks)
        if log_format == "json"
        else TextFormatter(tracebacks=tracebacks, color=color)
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("dpipe").setLevel(level.upper())
    return formatter


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    return '"' + _one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _one_line(text: str) -> str:
    return _UNSAFE.sub(lambda match: repr(match[0])[1:-1], text)

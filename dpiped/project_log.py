"""What is said to a project about its rejected events: in the daemon's log, or in a log file of the project's own.

The events are in the dead letter anyway: a log file that cannot be written holds up nothing, and is told once.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpiped.codecs.base import Rejected
from dpiped.config.schema import ProjectConfig
from dpiped.files import write_all
from dpiped.telemetry import Telemetry
from dpiped.telemetry.log import TextFormatter

SHOWN_REJECTED = 10
"""So many of one request or block; all of them are in the dead letter."""
SHOWN_BYTES = 300


class ProjectLogs:
    """One for each daemon; `use` again after a reload. A log file is opened with its first line."""

    def __init__(self, telemetry: Telemetry | None = None) -> None:
        self._telemetry = telemetry or Telemetry()
        self._loggers: dict[str, logging.Logger] = {}

    def use(self, projects: Iterable[ProjectConfig]) -> None:
        """From now on these projects."""
        self.close()
        self._loggers = {project.name: _logger(project, self._telemetry) for project in projects if project.show_error}

    def tell(self, project: str, ident: str, source: str, rejected: Sequence[Rejected]) -> None:
        """Writes the first of the rejected lines with their reasons, if the project's `show_error` is set."""
        logger = self._loggers.get(project)
        if logger is None:
            return
        for bad in rejected[:SHOWN_REJECTED]:
            text = bad.raw[:SHOWN_BYTES].decode("utf-8", "replace")
            details = {"project": project, "ident": ident, "line": bad.line, "reason": bad.reason, "text": text}
            if source:
                details["source"] = source
            logger.warning("event rejected", extra={"details": details})

    def close(self) -> None:
        """Closes the log files."""
        for logger in self._loggers.values():
            for handler in logger.handlers:
                handler.close()


class _LogFile(logging.Handler):
    """Appends whole lines; opens the file, 0640, with the first one and again after an error."""

    def __init__(self, path: Path, telemetry: Telemetry) -> None:
        super().__init__()
        self._path = path
        self._telemetry = telemetry
        self._fd = -1
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode("utf-8", "replace")
        try:
            if self._fd < 0:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            write_all(self._fd, [line])
        except OSError as exc:
            self._fail(exc)
        else:
            self._recover()

    def _fail(self, exc: OSError) -> None:
        self._close_file()
        self._left_out += 1
        if self._left_out == 1:
            text = f"{self._path}: {exc.strerror or exc}"
            self._telemetry.say("log file of a project cannot be written", detail=text, level=logging.ERROR)

    def _recover(self) -> None:
        if self._left_out:
            text = f"{self._path}: {self._left_out} lines are missing in it"
            self._telemetry.say("log file of a project can be written again", detail=text, level=logging.WARNING)
            self._left_out = 0

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):  # what it could say was said by the write
                os.close(fd)

    def close(self) -> None:
        self._close_file()
        super().close()


def _logger(project: ProjectConfig, telemetry: Telemetry) -> logging.Logger:
    if project.logfile is None:
        return logging.getLogger("dpipe.project")
    handler = _LogFile(Path(project.logfile), telemetry)
    handler.setFormatter(TextFormatter())
    own = logging.Logger(f"dpipe.project.{project.name}")
    own.addHandler(handler)
    return own

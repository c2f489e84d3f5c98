"""What is said to a project about its rejected events: in the daemon's log, or in a log file of the project's own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpiped.codecs.base import Rejected
from dpiped.config.schema import ProjectConfig
from dpiped.telemetry.log import TextFormatter

SHOWN_REJECTED = 10
"""So many of one request or block; all of them are in the dead letter."""
SHOWN_BYTES = 300


class ProjectLogs:
    """One for each daemon; `use` again after a reload. A log file is opened with its first line."""

    def __init__(self) -> None:
        self._loggers: dict[str, logging.Logger] = {}

    def use(self, projects: Iterable[ProjectConfig]) -> None:
        """From now on these projects."""
        self.close()
        self._loggers = {project.name: _logger(project) for project in projects if project.show_error}

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


def _logger(project: ProjectConfig) -> logging.Logger:
    if project.logfile is None:
        return logging.getLogger("dpipe.project")
    Path(project.logfile).parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    handler = logging.FileHandler(project.logfile, encoding="utf-8", delay=True)
    handler.setFormatter(TextFormatter())
    own = logging.Logger(f"dpipe.project.{project.name}")
    own.addHandler(handler)
    return own

"""Every error that crosses a module border, and what the engine makes of it.

A plugin raises one of these and nothing else on purpose; anything else that leaves a plugin is a defect of the plugin
and handled by its `on_error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpiped.batch import Batch


class DpipeError(Exception):
    """Base of all; its text is one line that says what is wrong, where, and what to do."""


class ConfigError(DpipeError):
    """The configuration cannot be used: exit status 2. `problems` has one line for each error found."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class WrongArgumentError(DpipeError):
    """What somebody asked for cannot be understood: exit status 2 of a command."""


class LockedError(DpipeError):
    """Another process uses this data_dir or this stream: exit status 3."""


class TemporaryError(DpipeError):
    """The store cannot take the batch now: the runner sends the same batch again, with back-off."""

    def __init__(self, message: str, retry_after_secs: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_secs = retry_after_secs


class LostTrackError(TemporaryError):
    """What the output took since the last flush may be gone: it is opened again and goes on from its saved cursor."""


class RejectedError(DpipeError):
    """The store refuses events for good; they go to the dead letter and the rest counts as delivered.

    Args:
        reasons: index of the event in the batch (from 0) -> why.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} events refused: {next(iter(reasons.values()), '')}")
        self.reasons = dict(reasons)

    @classmethod
    def whole(cls, batch: Batch, reason: str) -> RejectedError:
        """All events of the batch, for one reason."""
        return cls(dict.fromkeys(range(batch.count), reason))


class MessageRefusedError(DpipeError):
    """The service of an output for people refuses this message for good, while it may take others: less of it is sent,
    until what it refuses is found."""


class FatalPluginError(DpipeError):
    """The plugin can never work as configured: its runner stops and is shown as failed."""


class UnavailableError(DpipeError):
    """The journal takes nothing now (full, or its disk fails): inputs wait, http answers 503."""

    def __init__(self, message: str, retry_after_secs: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_secs = retry_after_secs


class BatchConflictError(DpipeError):
    """The batch id was used for another batch, or is older than the last: http answers 409."""


class HangError(DpipeError):
    """A pack on which a filter did not return, in several processes: `on_error` decides."""


class CodecError(DpipeError):
    """The data as a whole cannot be read by this codec."""


def first_error(error: Exception) -> Exception:
    """Itself, or of a group of tasks, which may hold groups, the first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error

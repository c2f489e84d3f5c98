"""How a process of ours ends; docs/operations.md says what each exit code means."""

from __future__ import annotations

from enum import IntEnum

from dpiped.errors import ConfigError, LockedError, WrongArgumentError


class ExitCode(IntEnum):
    """Of `dpiped` and `dpipe-collector`."""

    DONE = 0
    FAILED = 1
    CONFIG = 2
    """The config or the arguments are wrong."""
    LOCKED = 3
    """Another process uses the data_dir or the stream."""
    UNREAD = 4
    """Some sources could not be read."""
    WATCHDOG = 5
    """A filter did not return."""
    INTERRUPTED = 130

    @classmethod
    def of(cls, error: BaseException) -> ExitCode:
        """What a process that ends with this error returns."""
        if isinstance(error, ConfigError | WrongArgumentError):
            return cls.CONFIG
        return cls.LOCKED if isinstance(error, LockedError) else cls.FAILED

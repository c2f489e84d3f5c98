"""What the command lines of daemon and collector have in common: options, and how errors are told."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from dpiped.config.validate import did_you_mean
from dpiped.errors import ConfigError, DpipeError, first_error
from dpiped.exit_code import ExitCode
from dpiped.hidden import blot
from dpiped.telemetry.log import LEVELS

_AGO = re.compile(r"-\d+(\.\d+)?[smhd]")
_UNKNOWN = "unrecognized arguments: "
_CHOICE = re.compile(r"argument (\S+): invalid choice: '([^']*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """An error is one line that says what to do. Options are written whole: `--token X` must not be taken for
    `--token-env X`, whose errors show what X is.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse takes the value of `--from -2h` for an option."""
        return super().parse_known_args(None if args is None else _joined(args), namespace)

    def error(self, message: str) -> NoReturn:
        if message.startswith(_UNKNOWN):  # what follows an option may be a secret
            words = [word.partition("=")[0] for word in message.removeprefix(_UNKNOWN).split()]
            message = _UNKNOWN + " ".join([word for word in words if word.startswith("-")] or words)
        choice = _CHOICE.search(message)
        if choice:
            known = [word.strip(" '\"") for word in choice[3].split(",")]
            what = "command" if choice[1] == "COMMAND" else choice[1]
            message = f'{what} "{choice[2]}" is not known{did_you_mean(choice[2], known)}'
        self.exit(ExitCode.CONFIG, f"{self.prog}: {message}; see {self.prog} --help\n")


def _joined(arguments: Sequence[str]) -> list[str]:
    """With `--option -2h` written as `--option=-2h`."""
    joined: list[str] = []
    for argument in arguments:
        if _AGO.fullmatch(argument) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def common_options() -> Parser:
    """Those of every command, as a parent of its parser."""
    common = Parser(add_help=False)
    quiet = argparse.SUPPRESS  # so that the options may stand before and behind the command
    common.add_argument("-v", "--verbose", action="store_true", default=quiet, help="show tracebacks of errors")
    common.add_argument("--log-level", choices=LEVELS, default=quiet, help="least level that is logged (info)")
    common.add_argument("--log-format", choices=("text", "json"), default=quiet, help="form of the log lines (text)")
    return common


def run_command_line(parser: Parser, argv: Sequence[str] | None) -> int:
    """Calls the function that the arguments name as `command`; returns the exit status that it or its error says."""
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain at exit when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as exc:
        if getattr(arguments, "verbose", False):
            print(blot(traceback.format_exc()), end="", file=sys.stderr)
        print(blot("\n".join(_told(exc, parser.prog))), file=sys.stderr)
        return ExitCode.of(exc)


def _told(error: Exception, program: str) -> list[str]:
    """One line for each problem; of a group of tasks the first."""
    error = first_error(error)
    if isinstance(error, ConfigError):
        return error.problems
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{program}: {error.filename}: {error.strerror}"]
    if isinstance(error, DpipeError | OSError):
        return [f"{program}: {error}"]
    return [f"{program}: defect: {type(error).__name__}: {error}; run it again with -v to see where"]

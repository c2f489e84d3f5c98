"""The command `dpiped`: reads the arguments, calls one command, turns errors into one line and an exit status.

Status: 0 done, 1 failed, 2 config or arguments, 3 locked by another, 4 some sources unread, 5 ended by the watchdog.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from dpiped.commands import deadletter, funnel, graph, journal, leveldb, plugins, query, replay, run, top
from dpiped.config.validate import did_you_mean
from dpiped.errors import ConfigError, DpipeError, LockedError
from dpiped.hidden import blot
from dpiped.telemetry.log import LEVELS

FAILED, BAD_CONFIG, LOCKED, INTERRUPTED = 1, 2, 3, 130
_AGO = re.compile(r"-\d+(\.\d+)?[smhd]")
_CHOICE = re.compile(r"argument (\S+): invalid choice: '([^']*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """An error is one line that says what to do."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse takes the value of `--from -2h` for an option."""
        return super().parse_known_args(None if args is None else _joined(args), namespace)

    def error(self, message: str) -> NoReturn:
        choice = _CHOICE.search(message)
        if choice:
            known = [word.strip(" '\"") for word in choice[3].split(",")]
            what = "command" if choice[1] == "COMMAND" else choice[1]
            message = f'{what} "{choice[2]}" is not known{did_you_mean(choice[2], known)}'
        self.exit(BAD_CONFIG, f"{self.prog}: {message}; see {self.prog} --help\n")


def _joined(arguments: Sequence[str]) -> list[str]:
    """With `--option -2h` written as `--option=-2h`."""
    joined: list[str] = []
    for argument in arguments:
        if _AGO.fullmatch(argument) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands; each sets `command`, a function of the arguments that returns the exit status."""
    common = argparse.ArgumentParser(add_help=False)
    quiet = argparse.SUPPRESS  # so that the options may stand before and behind the command
    common.add_argument("-v", "--verbose", action="store_true", default=quiet, help="show tracebacks of errors")
    common.add_argument("--log-level", choices=LEVELS, default=quiet, help="least level that is logged (info)")
    common.add_argument("--log-format", choices=("text", "json"), default=quiet, help="form of the log lines (text)")
    parser = Parser(
        prog="dpiped", description="Collects log events, analyses them in flight, delivers them.", parents=[common]
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for group in (run, graph, plugins, query, funnel, top, journal, deadletter, leveldb, replay):
        group.add_commands(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    verbose = bool(getattr(arguments, "verbose", False))
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain at exit when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:
        if verbose:
            print(blot(traceback.format_exc()), end="", file=sys.stderr)
        return _tell(exc)


def _tell(error: Exception) -> int:
    """One line for each problem, on standard error; the exit status of the error."""
    if isinstance(error, ConfigError):
        lines = error.problems
    elif isinstance(error, DpipeError | OSError):
        lines = [f"dpiped: {error}"]
    else:
        lines = [f"dpiped: defect: {type(error).__name__}: {error}; run it again with -v to see where"]
    print(blot("\n".join(lines)), file=sys.stderr)
    if isinstance(error, ConfigError):
        return BAD_CONFIG
    return LOCKED if isinstance(error, LockedError) else FAILED

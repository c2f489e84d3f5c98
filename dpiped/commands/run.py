"""`dpiped run`, `check` and `version`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from dpiped import __version__
from dpiped.config.lint import label
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import DaemonConfig
from dpiped.errors import ConfigError
from dpiped.exit_code import ExitCode
from dpiped.telemetry.log import setup_logging


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parsers of this group."""
    run = commands.add_parser("run", parents=[common], help="start the daemon")
    run.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="config file, or folder of them")
    run.set_defaults(command=run_command)
    check = commands.add_parser("check", parents=[common], help="find all errors of a config; status 2 if there are")
    check.add_argument("--connect", action="store_true", help="also ask the stores of outputs whether they let it in")
    check.add_argument("configs", type=Path, nargs="+", metavar="FILE", help="config file, or folder of them")
    check.set_defaults(command=check_command)
    version = commands.add_parser("version", parents=[common], help="print the version")
    version.set_defaults(command=version_command)


def run_command(arguments: argparse.Namespace) -> int:
    """Runs until a signal ends it, or until all inputs have ended and everything is delivered."""
    config = load_daemon_config(arguments.config)
    start_logging(arguments)
    from dpiped.daemon import run_daemon  # here, so that the other commands start fast

    return run_daemon(config, arguments.config)


def start_logging(arguments: argparse.Namespace) -> None:
    """As the arguments say."""
    setup_logging(
        getattr(arguments, "log_level", "info"),
        getattr(arguments, "log_format", "text"),
        tracebacks=bool(getattr(arguments, "verbose", False)),
    )


def check_command(arguments: argparse.Namespace) -> int:
    """Checks all files, and tells the errors of all; with `--connect` status 1 when a store does not let it in."""
    problems: list[str] = []
    refused = False
    for path in arguments.configs:
        try:
            config = load_daemon_config(path)
        except ConfigError as exc:
            problems += exc.problems
            continue
        for warning in config.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        for table in config.tables:
            for note in table.plugin_class.notes(table.config):
                print(f"note: {table.place}: {label(table)}: {note}")
        _compare_states(config)
        print(f"ok: {path}: {summary(config)}")
        refused |= arguments.connect and not _connect(config)
    if problems:
        raise ConfigError(problems)
    return ExitCode.FAILED if refused else ExitCode.DONE


def _compare_states(config: DaemonConfig) -> None:
    """Tells what a start with this config would set aside."""
    from dpiped.aside import look  # here, so that the other commands start fast

    found = look(config)
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for note in found.notes:
        print(f"note: {note}")


def _connect(config: DaemonConfig) -> bool:
    """Whether all stores that can be asked let it in; what is wrong goes to standard error."""
    from dpiped.probing import probe_all  # here, so that the other commands start fast

    found = asyncio.run(probe_all(config))
    for name, problems in found:
        if not problems:
            print(f"ok: {name}: its store answers, the rights suffice")
        for problem in problems:
            print(f"{name}: {problem}", file=sys.stderr)
    return not any(problems for _, problems in found)


def version_command(arguments: argparse.Namespace) -> int:
    """Prints the version."""
    print(f"dpiped {__version__}")
    return 0


def summary(config: DaemonConfig) -> str:
    """`2 inputs, 1 filter, 1 output; journal on disk in var/dpiped`."""
    counts = [
        f"{len(tables)} {kind}{'' if len(tables) == 1 else 's'}"
        for kind, tables in (("input", config.inputs), ("filter", config.filters), ("output", config.outputs))
    ]
    place = f"on disk in {config.engine.data_dir}" if config.journal.type == "disk" else "in memory"
    return f"{', '.join(counts)}; journal {place}"

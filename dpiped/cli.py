"""The command `dpiped`: its commands, one module for each group.

Status: 0 done, 1 failed, 2 config or arguments, 3 locked by another, 4 some sources unread, 5 ended by the watchdog.
"""

from __future__ import annotations

from collections.abc import Sequence

from dpiped.command_line import Parser, common_options, run_command_line
from dpiped.commands import deadletter, funnel, graph, journal, leveldb, plugins, query, replay, run, top


def build_parser() -> Parser:
    """The parser with all commands; each sets `command`, a function of the arguments that returns the exit status."""
    common = common_options()
    parser = Parser(
        prog="dpiped", description="Collects log events, analyses them in flight, delivers them.", parents=[common]
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for group in (run, graph, plugins, query, funnel, top, journal, deadletter, leveldb, replay):
        group.add_commands(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    return run_command_line(build_parser(), argv)

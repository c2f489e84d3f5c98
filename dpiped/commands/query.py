"""`dpiped query`: the answers of a running daemon, as a table, CSV or JSON."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any
from urllib.parse import quote

from dpiped.arguments import place, secs, whole
from dpiped.commands.target import Target, add_target

MOST = 10_000
"""As the API has it."""
CLEAR = "\x1b[H\x1b[2J"


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parser."""
    query = commands.add_parser("query", parents=[common], help="show what filters with windows answer now")
    query.add_argument("filter", nargs="?", metavar="FILTER", help="name of a filter; without it they are listed")
    add_target(query)
    query.add_argument("--window", choices=("current", "last", "all"), default="all", help="which windows (all)")
    query.add_argument("--group", metavar="VALUES", help="only this group: its values, joined by commas")
    query.add_argument(
        "--from", dest="since", type=place, metavar="TIME", help="only windows that end after it; also -2h"
    )
    query.add_argument("--to", type=place, metavar="TIME", help="only windows that begin before it")
    query.add_argument("--limit", type=whole(MOST), default=1_000, metavar="N", help="at most so many (1000)")
    query.add_argument("--format", choices=("text", "csv", "json"), default="text", help="text, csv or json")
    query.add_argument("--watch", type=secs, metavar="SECS", help="ask again, this often, until Ctrl-C")
    query.set_defaults(command=query_command)


def query_command(arguments: argparse.Namespace) -> int:
    """Prints the answers, once or again and again."""
    admin = Target(arguments, admin_will_do=True).running()
    path, asked = "/api/aggregates", {"format": arguments.format}
    if arguments.filter is not None:
        path += f"/{quote(arguments.filter, safe='')}"
        asked |= {name: getattr(arguments, name) for name in ("window", "group", "to", "limit")}
        asked["from"] = arguments.since
    while True:
        text, more = admin.text(path, asked)
        clear = CLEAR if arguments.watch is not None and sys.stdout.isatty() else ""
        print(clear + text, end="", flush=True)
        if more and arguments.format != "text":  # a table says so itself
            print("there are more: a larger --limit shows them", file=sys.stderr)
        if arguments.watch is None:
            return 0
        time.sleep(arguments.watch)

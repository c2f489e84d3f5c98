"""`dpiped funnel`: how far users came on a way of actions, out of a running daemon, as a table, CSV or JSON."""

from __future__ import annotations

import argparse
from typing import Any

from dpiped.arguments import place, told_by, whole
from dpiped.commands.query import MOST
from dpiped.commands.target import Target, add_target
from dpiped.web.behavior_query import WITHIN


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parser."""
    funnel = commands.add_parser("funnel", parents=[common], help="count how far users came on a way of actions")
    funnel.add_argument("--table", required=True, metavar="NAME", help="table that an output `behavior` keeps")
    funnel.add_argument("--steps", required=True, metavar="A,B,C", help="the actions, in order")
    within = "longest time from the first step to the last, such as 7d"
    funnel.add_argument("--within", type=told_by(WITHIN), metavar="TIME", help=within)
    funnel.add_argument("--by", metavar="DIM", help="a kept dimension that divides users")
    funnel.add_argument(
        "--from", dest="since", type=place, metavar="TIME", help="only users who enter at or after it; also -2h"
    )
    funnel.add_argument("--to", type=place, metavar="TIME", help="only users who enter before it")
    funnel.add_argument("--limit", type=whole(MOST), default=1_000, metavar="N", help="at most so many groups (1000)")
    funnel.add_argument("--format", choices=("text", "csv", "json"), default="text", help="text, csv or json")
    add_target(funnel)
    funnel.set_defaults(command=funnel_command)


def funnel_command(arguments: argparse.Namespace) -> int:
    """Prints the answer."""
    admin = Target(arguments, admin_will_do=True).running()
    asked = {name: getattr(arguments, name) for name in ("table", "steps", "within", "by", "to", "limit", "format")}
    print(admin.text("/api/funnel", {**asked, "from": arguments.since}).text, end="")
    return 0

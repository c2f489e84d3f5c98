"""`dpiped deadletter ls|show|retry|drop`: what was refused, why, and the way to send it again.

They ask the daemon; where none runs, they open its folder, and only `retry` has to wait for a daemon.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dpiped.arguments import pattern, whole
from dpiped.arguments import time as time_text
from dpiped.commands.target import Target, add_target
from dpiped.deadletter import DeadLetters
from dpiped.errors import ConfigError, DpipeError
from dpiped.exit_code import ExitCode
from dpiped.journal.bound import show_ms
from dpiped.leveldb import LevelDb
from dpiped.offline import copied, owned
from dpiped.selection import FILTERS, Selection, listing
from dpiped.telemetry import Telemetry
from dpiped.text import table

Arguments = argparse.Namespace
NO_BOUND_BYTES, NO_BOUND_SECS = 1 << 62, 1e11
"""The daemon bounds its letters; a command only does what it is told."""
MOST_SHOWN = 1_000


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parsers of this group."""
    group = commands.add_parser("deadletter", parents=[common], help="show refused events, send them again, drop them")
    actions = group.add_subparsers(metavar="ACTION", required=True, parser_class=type(group))
    for name, command, text in (
        ("ls", ls_command, "list them, oldest first"),
        ("show", show_command, "show some whole, as JSON"),
        ("retry", retry_command, "send them again: to the runner that refused them, or through their input"),
        ("drop", drop_command, "remove them for good"),
    ):
        parser: argparse.ArgumentParser = actions.add_parser(name, parents=[common], help=text)
        parser.set_defaults(command=command)
        add_target(parser)
        parser.add_argument("causes", nargs="+" if name == "show" else "*", metavar="CAUSE", help="as `ls` shows them")
        if name != "show":
            _add_filters(parser)
        if name == "ls":
            parser.add_argument(
                "--limit", type=whole(MOST_SHOWN), default=100, metavar="N", help="at most so many (100)"
            )
            parser.add_argument("--json", action="store_true", help="one JSON object a line, with the bytes")
        elif name != "show":
            parser.add_argument("--all", action="store_true", help="all of them")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plugin", default="", metavar="NAME", help="refused by this input, filter or output")
    parser.add_argument("--ident", default=argparse.SUPPRESS, type=pattern, metavar="PATTERN", help="as in `match`")
    parser.add_argument("--project", default="", metavar="NAME", help="of this project")
    parser.add_argument(
        "--since", default=argparse.SUPPRESS, type=time_text, metavar="TIME", help="refused since then; also -2h"
    )
    parser.add_argument("--text", default="", help="part of the reason")


def _asked(arguments: Arguments) -> Selection:
    filters = {name: getattr(arguments, name, "") for name in FILTERS}
    return Selection(causes=arguments.causes, all=getattr(arguments, "all", False), **filters)


def _chosen(arguments: Arguments) -> Selection:
    asked = _asked(arguments)
    if asked.is_empty:
        raise ConfigError(
            ["dpiped: say which letters: CAUSE.., --plugin, --ident, --project, --since, --text or --all"]
        )
    return asked


def _listing(target: Target, asked: Selection, limit: int) -> dict[str, Any]:
    """From the daemon, or from a copy of its folder."""
    admin = target.admin()
    if admin is not None:
        query = {name: getattr(asked, name) for name in FILTERS}
        answer: dict[str, Any] = admin.get("/admin/deadletters", {**query, "cause": asked.causes, "limit": limit})
        return answer
    with copied(target.data_dir, "deadletter") as database:
        if database is None:
            return {"letters": [], "more": False, "count": 0}
        letters = DeadLetters(database, Telemetry(), NO_BOUND_BYTES, NO_BOUND_SECS)
        letters.open()
        return listing(letters, asked, int(time.time() * 1000), limit)


def ls_command(arguments: Arguments) -> int:
    """A table, or JSON lines."""
    found = _listing(Target(arguments, admin_will_do=True), _asked(arguments), arguments.limit)
    if arguments.json:
        for letter in found["letters"]:
            print(json.dumps(letter, ensure_ascii=False))
        return 0
    rows: list[Sequence[object]] = [("refused", "plugin", "project", "ident", "cause", "reason")]
    for one in found["letters"]:
        place = (one["plugin"], one["project"] or "-", one["ident"] or "-")
        rows.append((show_ms(one["at_ms"]), *place, one["cause"], one["reason"].replace("\n", " ")[:100]))
    print(table(rows), end="")
    print(f"{len(found['letters'])} shown of {found['count']}{'; there are more' if found['more'] else ''}")
    return 0


def show_command(arguments: Arguments) -> int:
    """Status 1 when one of them is not there."""
    found = _listing(Target(arguments, admin_will_do=True), _asked(arguments), MOST_SHOWN)["letters"]
    for letter in found:
        print(json.dumps(letter, ensure_ascii=False, indent=2))
    _check_there(arguments.causes, found)
    return 0


def _check_there(causes: Sequence[str], found: Sequence[Mapping[str, Any]]) -> None:
    absent = set(causes) - {letter["cause"] for letter in found}
    if absent:
        raise DpipeError(f"there is no dead letter {', '.join(sorted(absent))}; `dpiped deadletter ls` lists them")


def _check_named(target: Target, causes: list[str]) -> None:
    """Before anything is done to letters that are named: all are there. Raises DpipeError."""
    if causes:
        _check_there(causes, _listing(target, Selection(causes=causes), MOST_SHOWN)["letters"])


def retry_command(arguments: Arguments) -> int:
    """Status 1 when some were refused again."""
    asked = _chosen(arguments)
    target = Target(arguments, admin_will_do=True)
    admin = target.admin()
    if admin is None:
        raise DpipeError(f"no daemon runs on {target.data_dir}: start it, since runners and inputs take letters back")
    _check_named(target, asked.causes)
    told = admin.post("/admin/deadletters/retry", msgspec.structs.asdict(asked))
    print(f"{told['sent']} events sent again, {told['stay']} letters stay")
    for reason, amount in told["reasons"].items():
        print(f"{amount} stay: {reason}")
    return ExitCode.FAILED if told["stay"] else ExitCode.DONE


def drop_command(arguments: Arguments) -> int:
    """Counted by the daemon, told here."""
    asked = _chosen(arguments)
    target = Target(arguments, admin_will_do=True)
    _check_named(target, asked.causes)
    admin = target.admin()
    if admin is not None:
        gone = admin.post("/admin/deadletters/drop", msgspec.structs.asdict(asked))["dropped"]
    else:
        gone = _drop(target.data_dir, asked)
    print(f"{gone} letters dropped")
    return 0


def _drop(data_dir: Path, asked: Selection) -> int:
    with owned(data_dir):
        letters = DeadLetters(LevelDb(data_dir / "deadletter"), Telemetry(), NO_BOUND_BYTES, NO_BOUND_SECS)
        try:
            causes = [letter.cause for letter in asked.find(letters, int(time.time() * 1000))]
            return letters.change((), causes)
        finally:
            letters.close()

"""`dpiped journal ls|stat|verify|export|drop|cursors`: look into the journal, take from it, set cursors."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from dpiped.arguments import pattern, place
from dpiped.backlog import Behind, behind
from dpiped.commands.target import Target, add_target
from dpiped.errors import DpipeError, WrongArgumentError
from dpiped.exit_code import ExitCode
from dpiped.journal.bound import Bound, parse_bound, parse_range, show_ms
from dpiped.journal.export import Selection, export
from dpiped.journal.inspect import by_route, look_all, missing, say_missing
from dpiped.journal.state import RunnerKey, Saved
from dpiped.maintain import Cut, cut, plan_cut, set_cursor
from dpiped.offline import cursors_of, owned
from dpiped.text import size, table

Arguments = argparse.Namespace


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parsers of this group."""
    group = commands.add_parser("journal", parents=[common], help="look into the journal of a data_dir, or change it")
    actions = group.add_subparsers(metavar="ACTION", required=True, parser_class=type(group))

    def add(name: str, command: Any, text: str, *, admin: bool = False) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, parents=[common], help=text)
        add_target(parser, admin=admin)
        parser.set_defaults(command=command)
        return parser

    add("ls", ls_command, "the segments")
    add("stat", stat_command, "totals, what each ident takes, and what runners have not read", admin=True)
    add("verify", verify_command, "check every record; status 1 if any is damaged or missing")
    _add_export(add("export", export_command, "write events as one JSON object a line"))
    drop = add("drop", drop_command, "give up the oldest packs; no daemon may run")
    drop.add_argument("--before", required=True, type=place, metavar="TIME|OFFSET", help="whole segments below it go")
    drop.add_argument("--yes", action="store_true", help="do it; without, it is only told")
    cursors = add("cursors", cursors_command, "where runners are; or `set RUNNER earliest|latest|OFFSET`", admin=True)
    cursors.add_argument("change", nargs="*", metavar="set RUNNER PLACE", help="make a runner go on from elsewhere")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ident", action="append", default=[], type=pattern, metavar="PATTERN", help="as in `match`; may be repeated"
    )
    parser.add_argument("--project", default="", help="of this project only")
    parser.add_argument("--from", dest="start", type=place, metavar="TIME|OFFSET", help="from here on")
    parser.add_argument("--to", dest="end", type=place, metavar="TIME|OFFSET", help="up to here, without it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this new file instead of standard output")
    parser.add_argument("--metadata", action="store_true", help="with `_host` and `_source`, as outputs write them")


def range_of(arguments: Arguments) -> tuple[Bound | None, Bound | None]:
    """`--from` and `--to`."""
    return parse_range(arguments.start, arguments.end, int(time.time() * 1000))


# ---- look ----------------------------------------------------------------------------------------------------------
def ls_command(arguments: Arguments) -> int:
    """One line a segment."""
    rows: list[Sequence[object]] = [("segment", "first", "end", "from", "to", "size", "packs", "events", "damage")]
    for found in look_all(Target(arguments).data_dir):
        damage = f"{len(found.damage)} places" if found.damage else "-"
        times = show_ms(found.oldest_ms), show_ms(found.newest_ms)
        first, end = (found.first, found.end) if found.first >= 0 else ("-", "-")
        rows.append((found.path.name, first, end, *times, size(found.size), len(found.heads), found.events, damage))
    print(table(rows), end="")
    return 0


def stat_command(arguments: Arguments) -> int:
    """Totals, routes, runners."""
    target = Target(arguments)
    segments = list(look_all(target.data_dir))
    packs, events = sum(len(found.heads) for found in segments), sum(found.events for found in segments)
    print(f"{len(segments)} segments, {size(sum(found.size for found in segments))}, {packs} packs, {events} events")
    held = [found for found in segments if found.heads]
    if held:
        print(f"offsets {held[0].heads[0][0].offset} to {held[-1].end - 1}, ", end="")
        print(f"accepted {show_ms(held[0].oldest_ms)} to {show_ms(max(found.newest_ms for found in held))}")
    rows: list[Sequence[object]] = [("project", "ident", "from", "packs", "events", "size")]
    for route, share in sorted(by_route(segments).items()):
        giver = f"for {route.only}" if route.only else "filter" if route.emitted else "input"
        rows.append((route.project or "-", route.ident, giver, share.packs, share.events, size(share.size)))
    print("\n" + table(rows), end="")
    cursors = _cursors(target)
    print("\n" + table(_runner_rows(behind(segments, cursors, target.config))), end="")
    return 0


def _runner_rows(found: list[Behind]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        ("runner", "kind", "type", "cursor", "generation", "packs behind", "events", "size")
    ]
    for one in found:
        most = "" if one.exact else "<= "
        share = (f"{most}{one.share.packs}", f"{most}{one.share.events}", size(one.share.size))
        rows.append((one.key.name, one.key.kind, one.key.type, one.saved.cursor, one.saved.generation, *share))
    return rows


def _cursors(target: Target) -> dict[RunnerKey, Saved]:
    """From the daemon if one runs, since it alone can open its state."""
    admin = target.admin()
    if admin is None:
        return cursors_of(target.data_dir)
    return {
        RunnerKey(line["kind"], line["name"], line["type"]): Saved(line["cursor"], generation=line["generation"])
        for line in admin.get("/admin/stat")["plugins"]
        if line["kind"] != "input"
    }


def verify_command(arguments: Arguments) -> int:
    """Every record of every segment."""
    segments = list(look_all(Target(arguments).data_dir, check=True))
    problems = [f"{found.path.name}: {text}" for found in segments for text in found.damage]
    problems += [say_missing(low, high) for low, high in missing(segments)]
    for problem in problems:
        print(problem)
    unfinished = segments[-1].unfinished if segments and not segments[-1].damage else 0
    if unfinished:
        print(f"{segments[-1].path.name}: {unfinished} bytes behind the last group, which nobody was promised")
    packs = sum(len(found.heads) for found in segments)
    print(f"{len(segments)} segments, {packs} packs are whole; {len(problems)} problems")
    return ExitCode.FAILED if problems else ExitCode.DONE


def export_command(arguments: Arguments) -> int:
    """Status 1 when something was damaged and is left out."""
    target = Target(arguments)
    chosen = Selection(arguments.ident, arguments.project, *range_of(arguments))
    with _new_file(arguments.output) if arguments.output else nullcontext(sys.stdout.buffer) as file:
        done = export(target.data_dir, chosen, file, metadata=arguments.metadata)
        file.flush()
    for text in done.damage:
        print(f"dpiped: left out: {text}", file=sys.stderr)
    if arguments.output:
        print(f"{arguments.output}: {done.events} events of {done.packs} packs")
    return ExitCode.FAILED if done.damage else ExitCode.DONE


def _new_file(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb")
    except FileExistsError as exc:
        raise DpipeError(f"{path} is there already: name a new file") from exc
    except OSError as exc:
        raise DpipeError(f"{path} cannot be written: {exc.strerror}; name one in a folder that is there") from exc


# ---- change --------------------------------------------------------------------------------------------------------
def drop_command(arguments: Arguments) -> int:
    """Tells what goes and who has not read it; with `--yes` it goes."""
    target = Target(arguments)
    before = parse_bound(arguments.before, int(time.time() * 1000))
    with owned(target.data_dir):
        planned = plan_cut(target.data_dir, before, target.config)
        _tell(planned)
        if not planned.segments:
            return 0
        if not arguments.yes:
            print("nothing was dropped: say --yes to do it")
            return 0
        cut(target.data_dir, planned)
    print("dropped")
    return 0


def _tell(planned: Cut) -> None:
    packs, events = sum(len(found.heads) for found in planned.segments), sum(s.events for s in planned.segments)
    total = size(sum(found.size for found in planned.segments))
    print(f"{len(planned.segments)} segments, {total}, {packs} packs, {events} events below offset {planned.end}")
    for one in planned.losers:
        most = "" if one.exact else "up to "
        print(f"not read by {one.key.kind} {one.key.name}: {most}{one.share.packs} packs, {one.share.events} events")


def cursors_command(arguments: Arguments) -> int:
    """Lists them, or sets one."""
    target = Target(arguments)
    if not arguments.change:
        rows: list[Sequence[object]] = [("runner", "kind", "type", "cursor", "generation")]
        for key, saved in sorted(_cursors(target).items()):
            rows.append((key.name, key.kind, key.type, saved.cursor, saved.generation))
        print(table(rows), end="")
        return 0
    if len(arguments.change) != 3 or arguments.change[0] != "set":
        said = json.dumps(" ".join(arguments.change))
        raise WrongArgumentError(f"{said}: expected set RUNNER earliest|latest|OFFSET")
    with owned(target.data_dir):
        moved = set_cursor(target.data_dir, arguments.change[1], arguments.change[2])
    key, new = moved.key, moved.new
    print(f"{key.kind} {key.name}: cursor {moved.old.cursor} -> {new.cursor}, generation {new.generation}")
    if moved.skipped.packs:
        print(f"it skips up to {moved.skipped.packs} packs; what it wanted of them is counted as lost at its start")
    if moved.gone:
        print(f"{moved.gone} offsets of those were given back before and are not read again")
    if moved.aside:
        print(f"it starts empty; its state is now in {moved.aside}")
    return 0

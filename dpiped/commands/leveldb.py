"""`dpiped leveldb`: looks into the store of an output `leveldb`, while no daemon has it."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from dpiped.arguments import whole
from dpiped.errors import DpipeError
from dpiped.leveldb import LevelDb, is_reserved
from dpiped.offline import borrowed

END = b"\xff\xff"
"""Behind all keys, which are UTF-8."""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parsers."""
    text = "look into the store of an output leveldb"
    leveldb = commands.add_parser("leveldb", parents=[common], help=text)
    verbs = leveldb.add_subparsers(metavar="VERB", required=True)
    get = verbs.add_parser("get", parents=[common], help="print the value of a key")
    get.add_argument("folder", type=Path, metavar="DIR", help="`path` of the output")
    get.add_argument("key", metavar="KEY")
    get.set_defaults(command=get_command)
    scan = verbs.add_parser("scan", parents=[common], help="print keys and values in order, a JSON object a line")
    scan.add_argument("folder", type=Path, metavar="DIR", help="`path` of the output")
    scan.add_argument("--prefix", default="", metavar="TEXT", help="only keys that begin so")
    scan.add_argument("--from", dest="since", default="", metavar="KEY", help="only this key and those behind it")
    scan.add_argument("--to", metavar="KEY", help="only keys in front of this one")
    scan.add_argument("--limit", type=whole(), metavar="N", help="at most so many")
    scan.set_defaults(command=scan_command)


def get_command(arguments: argparse.Namespace) -> int:
    """Prints one value. Raises DpipeError when there is none."""
    key = arguments.key.encode()
    with borrowed(arguments.folder) as store:
        value = None if is_reserved(key) else store.get(key)
    if value is None:
        raise DpipeError(f"{arguments.folder} has no key {arguments.key!r}; `dpiped leveldb scan` shows what is there")
    print(_text(value, arguments.folder))
    return 0


def scan_command(arguments: argparse.Namespace) -> int:
    """Prints what is asked for."""
    prefix, to = arguments.prefix.encode(), arguments.to
    start = max(prefix, arguments.since.encode())
    stop = min(prefix + END, END if to is None else to.encode())
    with borrowed(arguments.folder) as store, closing(_found(store, start, stop)) as found:
        for key, value in islice(found, arguments.limit):
            raw = msgspec.Raw(_text(value, arguments.folder))
            print(msgspec.json.encode({"key": _text(key, arguments.folder), "value": raw}).decode())
    return 0


def _text(stored: bytes, folder: Path) -> str:
    try:
        return stored.decode()
    except UnicodeDecodeError as exc:  # the daemon's own databases hold bytes
        raise DpipeError(f"{folder} is no store of an output leveldb: name the `path` of one") from exc


def _found(store: LevelDb, start: bytes, stop: bytes) -> Generator[tuple[bytes, bytes], None, None]:
    with store.snapshot() as snapshot:
        yield from ((key, value) for key, value in snapshot.scan(start, stop) if not is_reserved(key))

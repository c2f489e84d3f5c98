"""What an operator may change in a data_dir while no daemon runs: give up the oldest packs, set cursors.

Nothing goes silently. What a runner has not read is noted in the state, by route, before it is taken away; the runner's
next start counts it as lost. The state is written first and synced, so after a kill in between the packs are still
there, and counted as what they are: given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from dpiped.backlog import Behind, behind
from dpiped.config.schema import DaemonConfig
from dpiped.config.validate import did_you_mean
from dpiped.errors import DpipeError, WrongArgumentError
from dpiped.files import sync_folder
from dpiped.journal.bound import MOST_DIGITS, Bound
from dpiped.journal.inspect import Found, Share, look_all
from dpiped.journal.state import FREED_KEY, Loss, RunnerKey, Saved
from dpiped.leveldb import LevelDb
from dpiped.offline import cursors_in
from dpiped.pack import Route
from dpiped.quarantine import set_aside


class Cut(NamedTuple):
    """What a drop would take."""

    segments: list[Found]
    end: int
    """The offset after the last that goes."""
    losers: list[Behind]
    """Runners that have not read all of it."""


def plan_cut(data_dir: Path, before: Bound, config: DaemonConfig | None) -> Cut:
    """Whole segments from the old end on that stand before the bound. The newest one with packs stays: it tells what
    senders sent last."""
    segments = list(look_all(data_dir))
    newest = max((number for number, found in enumerate(segments) if found.heads), default=0)
    gone: list[Found] = []
    for found in segments[:newest]:
        if not (found.end <= before.offset if before.offset is not None else found.newest_ms < (before.ms or 0)):
            break
        gone.append(found)
    end = max((found.end for found in gone), default=0)
    with _state(data_dir) as database:
        losers = behind(segments, cursors_in(database), config, end) if gone else []
    return Cut(gone, end, [one for one in losers if one.share.packs])


def cut(data_dir: Path, planned: Cut) -> None:
    """Takes it away. The folder is owned; raises OSError or LevelDbError, and can be called again then."""
    with _state(data_dir) as database:
        items: list[tuple[bytes, bytes | None]] = [(FREED_KEY, b"%d" % planned.end)]
        for key, saved in cursors_in(database).items():
            if saved.cursor < planned.end:
                routes = behind(planned.segments, {key: saved}, None, planned.end)[0].routes
                items += _noted(database, key, routes)
                keep_batch = saved.batch if saved.batch and saved.batch[1] > planned.end else None
                items.append(_line(key, msgspec.structs.replace(saved, cursor=planned.end, batch=keep_batch)))
        database.write(items, sync=True)
    for found in planned.segments:
        found.path.unlink(missing_ok=True)
    sync_folder(data_dir / "journal")


class Moved(NamedTuple):
    """What a change of a cursor did."""

    key: RunnerKey
    old: Saved
    new: Saved
    skipped: Share
    """What it will not read, at most; its next start counts what it wanted of that."""
    gone: int
    """Offsets from the new cursor on that were given back and cannot be read again."""
    aside: Path | None
    """Where the state of the filter is now."""


def set_cursor(data_dir: Path, runner: str, where: str) -> Moved:
    """Makes a runner go on from another place, in a new generation. The folder is owned."""
    segments = list(look_all(data_dir))
    with _state(data_dir) as database:
        cursors = cursors_in(database)
        key = find_runner(runner, cursors)
        old = cursors[key]
        offset = _offset(where, segments, cursors)
        new = msgspec.structs.replace(old, cursor=offset, generation=old.generation + 1, batch=None, batch_epoch="")
        skipped = behind(segments, {key: old}, None, offset)[0]
        items = _noted(database, key, skipped.routes) if skipped.share.packs else []
        snapshot = list(database.scan(key.key(b"s") + b"\0"))
        aside = set_aside(data_dir, key.name, old, snapshot) if snapshot else None
        items += [(name, None) for name, _ in snapshot]
        database.write([*items, _line(key, new)], sync=True)
    gone = sum(max(0, high - max(low, offset)) for found in segments for low, high in found.dropped)
    return Moved(key, old, new, skipped.share, gone, aside)


def find_runner(text: str, cursors: Iterable[RunnerKey]) -> RunnerKey:
    """The runner of a name, or of KIND/NAME/TYPE where a name has had several types. Raises DpipeError."""
    known = list(cursors)
    found = [key for key in known if text in (key.name, "/".join(key))]
    if len(found) == 1:
        return found[0]
    if found:
        raise DpipeError(f'"{text}" names several: say {" or ".join("/".join(key) for key in found)}')
    hint = did_you_mean(text, [key.name for key in known]) or f"; known are {', '.join(key.name for key in known)}"
    raise DpipeError(f'there is no cursor of "{text}"{hint}')


def _offset(where: str, segments: list[Found], cursors: Mapping[RunnerKey, Saved]) -> int:
    first = next((found.heads[0][0].offset for found in segments if found.heads), -1)
    end = max([*(found.end for found in segments), *(saved.cursor for saved in cursors.values())], default=0)
    if where == "latest":
        return end
    if where == "earliest":
        return first if first >= 0 else end
    if not where.isascii() or not where.isdigit() or len(where) > MOST_DIGITS:
        raise WrongArgumentError(f'"{where[:40]}": expected earliest, latest or an offset')
    offset = int(where)
    if not (first if first >= 0 else end) <= offset <= end:
        raise DpipeError(f"offset {offset} is not in the journal, which holds {max(first, 0)} to {end}")
    return offset


@contextmanager
def _state(data_dir: Path) -> Iterator[LevelDb]:
    """The state of an owned folder, open; a fresh one if there is none."""
    database = LevelDb(data_dir / "state")
    try:
        yield database
    finally:
        database.close()


def _line(key: RunnerKey, saved: Saved) -> tuple[bytes, bytes | None]:
    return key.key(b"c"), msgspec.msgpack.encode(saved)


def _noted(database: LevelDb, key: RunnerKey, routes: Mapping[Route, Share]) -> list[tuple[bytes, bytes | None]]:
    """What goes, added to what was noted before and no start has counted yet."""
    before = database.get(key.key(b"l"))
    losses = msgspec.msgpack.decode(before, type=list[Loss]) if before else []
    losses += [Loss(*route, share.packs, share.events) for route, share in routes.items()]
    return [(key.key(b"l"), msgspec.msgpack.encode(losses))]

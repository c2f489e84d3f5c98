"""The data_dir of a daemon that does not run: reading its databases without a trace, and owning it to change it.

LevelDB lets one process in and writes when it is opened, as whoever opens it; so who only reads opens a copy.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpiped.errors import DpipeError, LockedError
from dpiped.journal.state import VERSION, RunnerKey, Saved, decode_saved, runner_of
from dpiped.leveldb import LevelDb, LevelDbDamagedError
from dpiped.lock import DataDir


def is_running(data_dir: Path) -> bool:
    """Whether a daemon has the folder. Raises DpipeError when it is no data_dir."""
    lock = DataDir(data_dir)
    try:
        lock.lock_shared()
    except LockedError:
        return True
    lock.unlock()
    return False


@contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """The folder is ours meanwhile. Raises LockedError while a daemon runs, DpipeError for the wrong user."""
    try:
        owner = data_dir.stat().st_uid
    except FileNotFoundError as exc:
        raise DpipeError(f"{data_dir} is not there: name the data_dir of a daemon") from exc
    if owner != os.geteuid():  # else the daemon could not open what is written here
        raise DpipeError(f"{data_dir} belongs to {_user(owner)}: run this command as that user")
    if not (data_dir / "lock").exists():
        raise DpipeError(f"{data_dir} is no data_dir: there is no file `lock` in it")
    lock = DataDir(data_dir)
    lock.lock()
    try:
        yield
    finally:
        lock.unlock()


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


@contextmanager
def copied(data_dir: Path, name: str) -> Iterator[LevelDb | None]:
    """A copy of one database, open; None when there is none. Raises LockedError while a daemon runs."""
    lock = DataDir(data_dir)
    lock.lock_shared()
    with tempfile.TemporaryDirectory(prefix="dpiped-") as place:
        try:
            if not (data_dir / name / "CURRENT").exists():
                yield None
                return
            shutil.copytree(data_dir / name, Path(place, name), ignore=shutil.ignore_patterns("LOCK"))
        finally:
            lock.unlock()
        with _opened(Path(place, name), data_dir / name) as database:
            yield database


@contextmanager
def borrowed(folder: Path) -> Iterator[LevelDb]:
    """One of our LevelDB folders, to read from; whoever opens it meanwhile waits. Raises LockedError, DpipeError.

    It is not written to: opened is a copy, in which the big files, which never change, are links.
    """
    if not (folder / "CURRENT").exists():
        raise DpipeError(f"{folder} is no LevelDB: name the `path` of an output leveldb")
    fd = os.open(folder / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as LevelDB itself locks
        except OSError as exc:
            text = f"{folder} is in use by a running daemon: stop that, or copy the folder and name the copy"
            raise LockedError(text) from exc
        with _linked(folder, adopt=False) as database:
            yield database
    finally:
        os.close(fd)


@contextmanager
def _linked(folder: Path, *, adopt: bool) -> Iterator[LevelDb]:
    """A copy, open; of use for as long as nobody else opens the folder."""
    with tempfile.TemporaryDirectory(prefix="dpiped-") as place:
        copy = Path(place, "copy")
        copy.mkdir()
        for file in folder.iterdir():
            if file.suffix in (".ldb", ".sst"):
                (copy / file.name).symlink_to(file.absolute())
            elif file.name != "LOCK":
                shutil.copyfile(file, copy / file.name)
        with _opened(copy, folder, adopt=adopt) as database:
            yield database


@contextmanager
def _opened(copy: Path, original: Path, *, adopt: bool = True) -> Iterator[LevelDb]:
    """Raises DpipeError, which names the original."""
    try:
        database = LevelDb(copy, adopt=adopt)
    except LevelDbDamagedError as exc:
        raise DpipeError(f"{original} is damaged: the next start of the daemon keeps what can be read of it") from exc
    try:
        yield database
    finally:
        database.close()


def cursors_of(data_dir: Path) -> dict[RunnerKey, Saved]:
    """What the state says of each runner; a start waits meanwhile. Raises LockedError, DpipeError, OSError."""
    lock = DataDir(data_dir)
    lock.lock_shared()
    try:
        if not (data_dir / "state" / "CURRENT").exists():
            return {}
        with _linked(data_dir / "state", adopt=True) as database:
            return cursors_in(database)
    finally:
        lock.unlock()


def cursors_in(database: LevelDb | None) -> dict[RunnerKey, Saved]:
    """What the state says of each runner; what is damaged is for the next start to tell."""
    if database is None:
        return {}
    version = database.get(b"v")
    if version not in (None, VERSION):
        raise DpipeError(f"state has layout {version!r}, this dpiped knows {VERSION!r}: use the newer one")
    pairs = [(runner_of(key), decode_saved(value)) for key, value in database.scan(b"c\0")]
    return {runner: saved for runner, saved in pairs if runner is not None and saved is not None}

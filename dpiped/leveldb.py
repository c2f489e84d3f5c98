"""All access to LevelDB: a store of bytes by bytes, with atomic batches that are synced on demand.

Thread-safe, blocking: call it in a thread. After a failed write the database is closed and opened again, since a torn
write-ahead log would otherwise lose entries that were synced.

Format 1. Every value is sealed: behind it stands the CRC-32 of key and value, since a repair by LevelDB takes records
of its log without looking at their checksums (measured). A folder without the key `~format` is of the time before the
seals, and is sealed when it is opened.

Damage: with a quarantine, a database that cannot be read is repaired, or moved away and begun anew. Both leave it
`unsettled`, durably, before anything can be read from it: its owner draws the consequences and says `settle`.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import plyvel

from dpiped.errors import DpipeError
from dpiped.files import make_folder
from dpiped.leveldb_log import hides_records, was_written
from dpiped.quarantine import Quarantine

Result = TypeVar("Result")
Items = Iterable[tuple[bytes, bytes | None]]
"""(key, value or None = delete)."""
FORMAT_KEY, FORMAT = b"~format", b"dpipe 1"
UNSETTLED_KEY = b"~unsettled"
SEAL_BYTES = 4
CHUNK_BYTES = 1 << 20
CHUNK_ITEMS = 16
"""So many values are read at once; then writers are let in."""
_TROUBLE = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES, errno.EROFS))
_TROUBLE += tuple(os.strerror(code) for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EPERM))
"""Errors of the system: they tell nothing about the data."""


_NEW = ("CURRENT", "MANIFEST-*", "[0-9]*.dbtmp", "[0-9]*.log")
"""Files of a database that is being made."""
REPAIRED = "the database was damaged and is repaired; what could be read of it is kept"
BEGUN_ANEW = "the database was damaged beyond repair and is begun anew; nothing of it is kept"


class LevelDbError(DpipeError):
    """The database cannot be opened, read or written now."""


class LevelDbDamagedError(LevelDbError):
    """What is stored is damaged."""


class LevelDb:
    """One folder. Its write buffer is small, since values are.

    `adopt`: what is there without a format is of our time before the seals; else it is of another program, and refused.
    """

    def __init__(
        self,
        path: Path,
        write_buffer_bytes: int = 4 << 20,
        quarantine: Quarantine | None = None,
        adopt: bool = True,
    ) -> None:
        self._path = path
        self._adopt = adopt
        self._write_buffer_bytes = write_buffer_bytes
        self._quarantine = quarantine
        self._lock = threading.Lock()
        self._closed = False
        self.dropped = 0
        """Damaged values that were dropped by a repair."""
        self.mended = 0
        """How often it was repaired or begun anew since it was opened: what was read before may be gone."""
        self.became = ""
        """What was done about the damage that was found last."""
        self._db = self._open_sound()

    # ---- open and mend ---------------------------------------------------------------------------------------------
    def _open_sound(self) -> plyvel.DB:
        """Opens it, whatever state it is in. Raises LevelDbError for what is not damage."""
        mending = self._path.with_name(self._path.name + ".mending")
        if self._quarantine is None:
            return self._open(self._path)
        try:
            if mending.exists():  # the process ended while it was being repaired
                return self._repair(mending)
            try:
                return self._open(self._path)
            except LevelDbDamagedError:
                self._path.rename(mending)  # so that a half repaired one is never taken for whole
                return self._repair(mending)
        except OSError as exc:
            raise LevelDbError(f"open {self._path}: {exc.strerror or exc}") from exc

    def _repair(self, mending: Path) -> plyvel.DB:
        self.mended += 1
        self.became = REPAIRED
        try:
            plyvel.repair_db(str(mending), paranoid_checks=True)
            db = self._plain(mending)
            try:
                self._drop_damaged(db)
            finally:
                db.close()
            if self._quarantine is not None and (mending / "lost").exists():
                reason = "files that the repair of the database could not use as they are"
                self._quarantine.take(mending / "lost", reason, self._path / "lost")
            mending.rename(self._path)
        except (plyvel.Error, LevelDbDamagedError) as exc:
            if _is_trouble(exc):
                raise LevelDbError(f"repair {self._path}: {exc}") from exc
            reason = "the database is damaged beyond repair"
            if self._quarantine is None or not self._quarantine.take(mending, reason, self._path):
                raise LevelDbError(f"{mending} is damaged beyond repair: move it away") from exc
            self.became = BEGUN_ANEW
            return self._open(self._path)
        try:
            return self._open(self._path)
        except LevelDbDamagedError:
            if self._quarantine is None or not self._quarantine.take(self._path, "damaged again after its repair"):
                raise
            self.became = BEGUN_ANEW
            return self._open(self._path)

    def _drop_damaged(self, db: plyvel.DB) -> None:
        """After a repair: values with a broken seal go, and the mark is set that some may be missing."""
        if db.get(FORMAT_KEY) != FORMAT:
            raise LevelDbDamagedError(f"{self._path}: nothing tells its format any more")
        broken = [key for key, value in db.iterator(verify_checksums=True) if not _is_sound(key, value)]
        with db.write_batch(transaction=True, sync=True) as batch:
            batch.put(UNSETTLED_KEY, seal(UNSETTLED_KEY, b"1"))
            for key in broken:
                batch.delete(key)
        self.dropped += len(broken)

    def _plain(self, path: Path) -> plyvel.DB:
        return plyvel.DB(
            str(path),
            create_if_missing=True,
            paranoid_checks=True,
            write_buffer_size=self._write_buffer_bytes,
            lru_cache_size=4 << 20,
            max_open_files=64,
        )

    def _open(self, path: Path) -> plyvel.DB:
        """Opens a folder; one that was being made when the process or the power went is made anew."""
        try:
            return self._open_as_it_is(path)
        except LevelDbDamagedError:
            if _has_lived(path):
                raise
        try:
            for file in [file for pattern in _NEW for file in path.glob(pattern)]:
                file.unlink()
        except OSError as exc:
            raise LevelDbError(f"open {path}: {exc.strerror or exc}") from exc
        return self._open_as_it_is(path)

    def _open_as_it_is(self, path: Path) -> plyvel.DB:
        """Reads all of it once, if damage can be dealt with."""
        db = None
        try:
            make_folder(path)
            if not (path / "CURRENT").exists() and _has_lived(path):
                raise LevelDbDamagedError(f"open {path}: CURRENT is missing")  # else it would be begun anew, silently
            for log in (*path.glob("*.log"), *path.glob("MANIFEST-*")):
                if hides_records(log):
                    raise LevelDbDamagedError(f"open {path}: {log.name} has a damaged record, and sound ones behind it")
            db = self._plain(path)
            self._seal_all(db)
            if self._quarantine is not None:
                for key, value in db.iterator(verify_checksums=True):
                    if not _is_sound(key, value):
                        raise LevelDbDamagedError(f"read {path}: a value with a broken seal")
            return db
        except (plyvel.Error, DpipeError) as exc:  # plyvel's IOError is an OSError too
            if db is not None:
                db.close()
            if isinstance(exc, DpipeError):
                raise
            raise self._error("open", exc) from exc
        except OSError as exc:
            raise LevelDbError(f"open {path}: {exc.strerror or exc}") from exc

    def _seal_all(self, db: plyvel.DB) -> None:
        """Makes a database of the time before the seals one of today; stopped halfway it goes on the next time."""
        found = db.get(FORMAT_KEY)
        if found == FORMAT:
            return
        if found is not None:
            raise DpipeError(f"{self._path} has format {found!r}, this dpipe knows {FORMAT!r}: start the newer one")
        if not self._adopt and next(db.iterator(include_value=False), None) is not None:
            raise DpipeError(f"{self._path} holds a LevelDB of another program: name another folder")
        items: list[tuple[bytes, bytes]] = []
        size, is_new = 0, True
        for key, value in db.iterator(verify_checksums=True):
            is_new = False
            if not _is_sound(key, value):
                items.append((key, seal(key, value)))
                size += len(value)
            if size >= CHUNK_BYTES:
                _put(db, items)
                items, size = [], 0
        unsettled = [(UNSETTLED_KEY, seal(UNSETTLED_KEY, b"1"))] if is_new else []
        _put(db, [*items, *unsettled, (FORMAT_KEY, FORMAT)])

    @property
    def unsettled(self) -> bool:
        """It is new, or was mended: what is there may be less than what was."""
        return self.get(UNSETTLED_KEY) is not None

    def settle(self) -> None:
        """Its owner has drawn the consequences, durably."""
        self.write([(UNSETTLED_KEY, None)], sync=True)

    def mend(self) -> None:
        """After LevelDbDamagedError while it was in use. Raises LevelDbError when that cannot be done now."""
        with self._lock:
            self._db.close()
            self._db = self._open_sound()

    def _error(self, what: str, exc: Exception) -> LevelDbError:
        text = f"{what} {self._path}: {exc}"
        return LevelDbError(text) if _is_trouble(exc) else LevelDbDamagedError(text)

    # ---- use -------------------------------------------------------------------------------------------------------
    def _reopen(self) -> None:
        """After a failed write the next call, whichever it is, begins with a fresh database. The lock is held."""
        if self._db.closed and not self._closed:
            self._db = self._open_sound()

    def get(self, key: bytes) -> bytes | None:
        try:
            with self._lock:
                self._reopen()
                value: bytes | None = self._db.get(key, verify_checksums=True)
        except plyvel.Error as exc:
            raise self._error("read", exc) from exc
        return None if value is None else self._unseal(key, value)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of all keys with this prefix, in order; the keys come whole."""

        def begin() -> Any:
            self._reopen()
            return self._db.iterator(prefix=prefix, verify_checksums=True)

        for key, value in self.in_chunks(begin):
            yield key, value if key == FORMAT_KEY else self._unseal(key, value)

    def write(self, items: Items, *, sync: bool) -> None:
        """All of it or nothing. When it raises, the batch may be in or not: write the same again."""
        with self._lock:
            self._reopen()
            try:
                with self._db.write_batch(transaction=True, sync=sync) as batch:
                    for key, value in items:
                        if value is None:
                            batch.delete(key)
                        else:
                            batch.put(key, seal(key, value))
            except plyvel.Error as exc:
                self._db.close()
                raise self._error("write", exc) from exc

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """All as it is now, whatever is written meanwhile; blocking."""
        held = self.read_held(self._hold)
        try:
            yield Snapshot(self, held)
        finally:
            with self._lock:
                held.close()

    def _hold(self) -> Any:
        self._reopen()
        return self._db.snapshot()

    def in_chunks(self, begin: Callable[[], Any]) -> Iterator[Any]:
        """What the iterator gives that `begin` makes. It is only asked where nobody can close the database under it,
        which would end the process: plyvel gives the lock of Python away meanwhile.
        """
        found = self.read_held(begin)
        while chunk := self.read_held(lambda: list(islice(found, CHUNK_ITEMS))):
            yield from chunk

    def read_held(self, read: Callable[[], Result]) -> Result:
        """Never beside a write, which might close what is read."""
        try:
            with self._lock:
                return read()
        except plyvel.Error as exc:
            raise self._error("read", exc) from exc
        except RuntimeError as exc:  # it was closed, or a write failed and closed it
            raise LevelDbError(f"read {self._path}: {exc}") from exc

    def give_back(self, start: bytes, stop: bytes) -> None:
        """After keys from `start` to below `stop` were deleted: frees their room on disk. Blocking, and so is whoever
        writes meanwhile: give small ranges. Raises LevelDbError.
        """

        def compact() -> None:
            self._reopen()
            self._db.compact_range(start=start, stop=stop)

        self.read_held(compact)

    def _unseal(self, key: bytes, value: bytes) -> bytes:
        if not _is_sound(key, value):
            raise LevelDbDamagedError(f"read {self._path}: a value with a broken seal")
        return value[:-SEAL_BYTES]

    def close(self) -> None:
        self._closed = True
        with self._lock:
            self._db.close()


class Snapshot:
    """What `LevelDb.snapshot` gives: for one thread, while the context lasts."""

    def __init__(self, owner: LevelDb, held: Any) -> None:
        self._owner = owner
        self._held = held

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) from `start` to below `stop`, in order. Raises LevelDbError, also when it was closed."""
        for key, value in self._read(start, stop, include_value=True):
            yield key, value if key == FORMAT_KEY else self._owner._unseal(key, value)

    def keys(self, start: bytes, stop: bytes) -> Iterator[bytes]:
        """The keys alone."""
        yield from self._read(start, stop, include_value=False)

    def _read(self, start: bytes, stop: bytes, *, include_value: bool) -> Iterator[Any]:
        begin = partial(self._held.iterator, start=start, stop=stop, verify_checksums=True, include_value=include_value)
        yield from self._owner.in_chunks(begin)


def is_reserved(key: bytes) -> bool:
    """Whether the database keeps something of its own there."""
    return key in (FORMAT_KEY, UNSETTLED_KEY)


def seal(key: bytes, value: bytes) -> bytes:
    """The value as it is stored."""
    return value + crc32(value, crc32(key)).to_bytes(SEAL_BYTES, "little")


def _is_sound(key: bytes, stored: bytes) -> bool:
    if key == FORMAT_KEY:
        return stored == FORMAT
    return len(stored) >= SEAL_BYTES and stored == seal(key, stored[:-SEAL_BYTES])


def _put(db: plyvel.DB, items: list[tuple[bytes, bytes]]) -> None:
    with db.write_batch(transaction=True, sync=True) as batch:
        for key, value in items:
            batch.put(key, value)


def _has_lived(path: Path) -> bool:
    """Whether anything may have been written to the database."""
    tables = (*path.glob("*.ldb"), *path.glob("*.sst"))
    return bool(tables) or any(was_written(log) for log in path.glob("*.log"))


def _is_trouble(exc: Exception) -> bool:
    """Whether the system refused, so that nothing is known about the data. LevelDB gives no error number."""
    return isinstance(exc, plyvel.IOError) and any(text in str(exc) for text in _TROUBLE)

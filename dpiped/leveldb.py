"""All access to LevelDB: a store of bytes by bytes, with atomic batches that are synced on demand.

Thread-safe, blocking: call it in a thread. After a failed write the database is closed and opened again, since a torn
write-ahead log would otherwise lose entries that were synced.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import plyvel

from dpiped.errors import DpipeError

Items = Iterable[tuple[bytes, bytes | None]]
"""(key, value or None = delete)."""


class LevelDbError(DpipeError):
    """The database cannot be opened, read or written."""


class LevelDb:
    """One folder. `cache_bytes` bounds its read cache; its write buffer is small, since values are."""

    def __init__(self, path: Path, write_buffer_bytes: int = 4 << 20) -> None:
        self._path = path
        self._write_buffer_bytes = write_buffer_bytes
        self._lock = threading.Lock()
        self._closed = False
        self._db = self._open()

    def _open(self) -> plyvel.DB:
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            return plyvel.DB(
                str(self._path),
                create_if_missing=True,
                paranoid_checks=True,
                write_buffer_size=self._write_buffer_bytes,
                lru_cache_size=4 << 20,
                max_open_files=64,
            )
        except plyvel.Error as exc:
            raise LevelDbError(f"open {self._path}: {exc}") from exc

    def _reopen(self) -> None:
        """After a failed write the next call, whichever it is, begins with a fresh database. The lock is held."""
        if self._db.closed and not self._closed:
            self._db = self._open()

    def get(self, key: bytes) -> bytes | None:
        try:
            with self._lock:
                self._reopen()
                value: bytes | None = self._db.get(key, verify_checksums=True)
        except plyvel.Error as exc:
            raise LevelDbError(f"read {self._path}: {exc}") from exc
        return value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of all keys with this prefix, in order; the keys come whole."""
        try:
            with self._lock:
                self._reopen()
                iterator = self._db.iterator(prefix=prefix, verify_checksums=True)
            with iterator as found:
                yield from found
        except plyvel.Error as exc:
            raise LevelDbError(f"read {self._path}: {exc}") from exc

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
                            batch.put(key, value)
            except plyvel.Error as exc:
                self._db.close()
                raise LevelDbError(f"write {self._path}: {exc}") from exc

    def close(self) -> None:
        self._closed = True
        self._db.close()

"""Objects in buckets of S3. Their paths are their addresses: s3://BUCKET/KEY."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from dpiped.archive.globs import KeyGlob
from dpiped.archive.place import Place
from dpiped.archive.unpack import DamagedFileError, Readable
from dpiped.s3 import AccessConfig, Address, ObjectError, ObjectReader, ObjectStream, parse_address
from dpiped.sources.tail_scan import is_excluded


class Buckets(Place):
    """Objects that globs match. One that names an object stands for it, and as a folder for all below it."""

    def __init__(self, paths: Sequence[str], exclude: Sequence[str], access: AccessConfig, connections: int) -> None:
        self._exclude = exclude
        self._reader = ObjectReader(access, connections)
        addresses = map(parse_address, paths)
        self._globs = [(address.bucket, glob) for address in addresses for glob in _globs_of(address.key)]

    def scan(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for bucket, glob in self._globs:
            listed = self._reader.sizes(bucket, glob.literal)
            if glob.is_literal:  # it sorts before all that begin with it, which may be many
                listed = islice(self._reader.sizes(bucket, glob.literal, most=1), 1)
            for key, size in listed:
                path = str(Address(bucket, key))
                if glob.matches(key) and not key.endswith("/") and not is_excluded(path, self._exclude):
                    found[path] = size
        return found

    def open(self, path: str, size: int) -> Readable:
        return _Object(self._reader.open(parse_address(path), size))

    def has_grown(self, path: str, size: int) -> bool:
        """Objects do not grow: another one of the same key takes their place, and reading tells that."""
        return False

    def close(self) -> None:
        self._reader.close()


class _Object:
    """A stream as the reading of archives wants it."""

    def __init__(self, stream: ObjectStream) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except ObjectError as exc:
            raise DamagedFileError(str(exc)) from None

    def close(self) -> None:
        self._stream.close()


def _globs_of(key: str) -> list[KeyGlob]:
    """A key without wildcards is that of an object or of a folder; the end of one, or nothing at all, is a folder's."""
    own = KeyGlob(key)
    if not own.is_literal:
        return [own]
    folder = key.rstrip("/")
    below = KeyGlob(f"{folder}/**" if folder else "**")
    return [below] if folder != key or not folder else [own, below]

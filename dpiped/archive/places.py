"""All places of an archive as one: by its beginning a path tells where its file lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from dpiped.archive.buckets import Buckets
from dpiped.archive.disk import Disk
from dpiped.archive.place import Place
from dpiped.archive.unpack import Readable
from dpiped.extras import need
from dpiped.s3 import SCHEME, AccessConfig, parse_address


def is_in_bucket(path: str) -> bool:
    return path.startswith(SCHEME)


def _check_path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError('expected a path or glob such as "/var/archive/**/*.gz"')
    if text[:4].lower() == SCHEME[:4]:
        parse_address(text)
        need("boto3", "s3")
    return text


ArchivePath = Annotated[str, AfterValidator(_check_path)]
"""A path or glob of files, or an address of objects."""


class Places(Place):
    """A disk and buckets."""

    def __init__(self, paths: Sequence[str], exclude: Sequence[str], access: AccessConfig, threads: int) -> None:
        """Asks nobody. `threads`: so many read at once."""
        self._disk = Disk([path for path in paths if not is_in_bucket(path)], exclude)
        self._buckets = Buckets([path for path in paths if is_in_bucket(path)], exclude, access, threads)

    def _of(self, path: str) -> Place:
        return self._buckets if is_in_bucket(path) else self._disk

    def scan(self) -> dict[str, int]:
        return self._disk.scan() | self._buckets.scan()

    def open(self, path: str, size: int) -> Readable:
        return self._of(path).open(path, size)

    def has_grown(self, path: str, size: int) -> bool:
        return self._of(path).has_grown(path, size)

    def close(self) -> None:
        """Does not block. Threads that read end soon, with any error."""
        self._buckets.close()

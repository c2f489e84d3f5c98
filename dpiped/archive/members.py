"""Members: what stands in a tar file, one after the other, as a stream."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO, Self

from dpiped.archive.unpack import DamagedFileError, Peeked

TAR_LOOK = 262
"""So many first bytes tell whether it is a tar file."""
_PIECE_BYTES = 64 * tarfile.BLOCKSIZE
"""Read at once: what stands in one piece with damage of the tar file is lost."""
_BAD_HEADER = tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError  # type: ignore[attr-defined]  # which the stubs lack


def is_tar(look: bytes) -> bool:
    return look[257:262] == b"ustar"


class Member:
    """A file in a tar file; its content, packed or not."""

    def __init__(self, info: tarfile.TarInfo, content: IO[bytes]) -> None:
        self.name = info.name
        self.size = info.size
        self.failed = False
        """The tar file itself could not be read any further."""
        self._content = content

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty at the end. Raises what the stream of the tar file does."""
        self.failed = True
        try:
            data = self._content.read(min(size, _PIECE_BYTES))
        except tarfile.TarError as exc:
            raise _damaged(exc) from exc
        self.failed = False
        return data

    def close(self) -> None:
        self._content.close()


class _Header(tarfile.TarInfo):
    """One that is damaged or cut off is told: the library takes it for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except _BAD_HEADER as exc:
            raise tarfile.ReadError(str(exc)) from exc


def members_of(stream: Peeked) -> Iterator[Member]:
    """Each is to be read before the next. Raises DamagedFileError when the tar file is damaged."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE_BYTES, tarinfo=_Header) as tar:
            for info in tar:
                content = tar.extractfile(info) if info.isfile() else None
                if content is not None:
                    yield Member(info, content)
    except tarfile.TarError as exc:
        raise _damaged(exc) from exc


def _damaged(exc: tarfile.TarError) -> DamagedFileError:
    return DamagedFileError(f"it is damaged: {exc}")

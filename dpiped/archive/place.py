"""Place: where files of an archive lie. One file here for each kind: disks, buckets."""

from __future__ import annotations

from abc import ABC, abstractmethod

from dpiped.archive.unpack import Readable


class Place(ABC):
    """`scan` and `open` block; many threads open and read at once. All may raise TemporaryError when the place does not
    answer: it is not the files then, and everything is to be tried again.
    """

    @abstractmethod
    def scan(self) -> dict[str, int]:
        """Path -> size of all files that are there."""

    @abstractmethod
    def open(self, path: str, size: int) -> Readable:
        """The file, which had this size when it was begun. Raises, as reading does, OSError and DamagedFileError when
        this one cannot be read.
        """

    @abstractmethod
    def has_grown(self, path: str, size: int) -> bool:
        """Whether it is larger now. Called on the event loop when it was read."""

"""Storage `memory`: no durability. For tries, and for inputs that can be replayed."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

from dpiped.journal.base import Backlog, Recovered, Storage, Wanted
from dpiped.journal.record import Frame, Marks
from dpiped.pack import Route


class MemoryStorage(Storage):
    """A list of frames; freed from its old end."""

    durable = False

    def __init__(self, first: int = 0) -> None:
        self.next = first
        self._frames: list[Frame] = []
        self._lock = threading.Lock()

    def open(self) -> Recovered:
        return Recovered(Marks(self.next, {}, {}, {}), 0, ())

    def append(self, frames: Sequence[Frame], marks: Callable[[], Marks]) -> None:
        with self._lock:
            self._frames += frames
            self.used_bytes += sum(len(frame.body) for frame in frames)
            self.next = frames[-1].head.offset + 1

    def cut(self) -> None:
        """Nothing: an append to memory does not fail half way."""

    def first(self) -> int:
        with self._lock:
            return self._frames[0].head.offset if self._frames else self.next

    def read(self, offset: int, wanted: Callable[[Route], bool], most_bytes: int) -> tuple[list[Frame], int]:
        found, size = [], 0
        with self._lock:
            start = bisect_left(self._frames, offset, key=lambda frame: frame.head.offset)
            for index in range(start, len(self._frames)):
                frame = self._frames[index]
                if wanted(Route.of(frame.head)):
                    found.append(frame)
                    size += len(frame.body)
                    if size >= most_bytes:
                        return found, frame.head.offset + 1
            return found, self.next

    def free(self, wanted: Wanted, below: int) -> int:
        with self._lock:
            kept = [
                frame
                for frame in self._frames
                if frame.head.offset >= below or wanted(Route.of(frame.head), frame.head.offset, frame.head.offset)
            ]
            size = sum(len(frame.body) for frame in kept)
            freed = self.used_bytes - size
            self._frames, self.used_bytes = kept, size
        return freed

    def gone(self, offset: int) -> int:
        with self._lock:
            there = sum(frame.head.offset >= offset for frame in self._frames)
        return max(0, self.next - offset - there)

    def backlog(self, offset: int, wanted: Callable[[Route], bool]) -> list[Backlog]:
        with self._lock:
            return [
                Backlog(frame.head.offset, len(frame.body), frame.head.count)
                for frame in self._frames
                if frame.head.offset >= offset and wanted(Route.of(frame.head))
            ]

    def kept_from(self, since_ms: int, most_bytes: int) -> int:
        first, size = self.next, 0
        with self._lock:
            for frame in reversed(self._frames):
                size += len(frame.body)
                if size > most_bytes and frame.head.accepted_ms < since_ms:
                    break
                first = frame.head.offset
        return first

    def free_disk_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self._frames = []

"""The journal on disk against a list: any order of groups, failures, torn ends, reopenings and freeing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpiped.journal.disk import DiskStorage
from dpiped.journal.record import Frame, Marks
from dpiped.pack import Head

IDENTS = ("a", "b", "c")
groups = st.lists(st.tuples(st.sampled_from(IDENTS), st.integers(0, 120)), min_size=1, max_size=4)
actions = st.one_of(
    st.tuples(st.just("append"), groups),
    st.tuples(st.just("refused"), groups),
    st.tuples(st.just("torn"), groups, st.floats(0, 1, exclude_max=True), st.booleans()),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("free"), st.dictionaries(st.sampled_from(IDENTS), st.integers(0, 80))),
)


class Model:
    """The storage, and what has to be in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[int, Frame] = {}
        self.marks = Marks(0, {}, {}, {})
        self.next = 0
        self.doubtful = 0
        """Packs of groups that were damaged, not torn: they may be counted as lost, and their offsets are not given
        again."""
        self.wants = dict.fromkeys(IDENTS, 0)
        self.storage = self.open()

    def open(self) -> DiskStorage:
        storage = DiskStorage(self.folder, 700)
        found = storage.open()
        assert found.lost <= self.doubtful
        assert abs(storage.next - self.next) <= self.doubtful
        self.next = storage.next
        assert {name: last[:2] for name, last in found.marks.streams.items()} == self.marks.streams
        assert found.marks.emitted == self.marks.emitted
        return storage

    def frames(self, group: list[tuple[str, int]]) -> list[Frame]:
        return [
            Frame(
                Head(
                    epoch="e",
                    offset=at,
                    ident=ident,
                    stream=f"s-{ident}",
                    seq=at,
                    nonce="n",
                    cause=(ident, at),
                    count=1,
                ),
                bytes([65 + at % 26]) * size,
            )
            for at, (ident, size) in enumerate(group, self.next)
        ]

    def taken(self, frames: list[Frame]) -> None:
        for frame in frames:
            head = frame.head
            self.kept[head.offset] = frame
            self.marks.streams[head.stream] = (head.seq, head.nonce)  # type: ignore[assignment]
            self.marks.emitted[head.ident] = head.offset
        self.next = frames[-1].head.offset + 1

    def snapshot(self) -> Marks:
        streams = {name: (*last[:2], 0) for name, last in self.marks.streams.items()}
        return Marks(self.next, streams, {}, dict(self.marks.emitted))

    def append(self, group: list[tuple[str, int]]) -> None:
        frames = self.frames(group)
        self.storage.append(frames, self.snapshot)
        self.taken(frames)

    def refused(self, group: list[tuple[str, int]]) -> None:
        """The sync fails; what was written is cut back."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dpiped.journal.disk.os.fdatasync", _refuse)
            with pytest.raises(OSError, match="refused"):
                self.storage.append(self.frames(group), self.snapshot)
        self.storage.cut()

    def torn(self, group: list[tuple[str, int]], share: float, hole: bool) -> None:
        """The power fails in the middle of a group: a part of it, or all but one byte, is in the file."""
        before = {path: path.stat().st_size for path in self.folder.glob("*.seg")}
        self.storage.append(self.frames(group), self.snapshot)
        self.storage.close()
        path = max(self.folder.glob("*.seg"))
        start, end = before.get(path, 0), path.stat().st_size
        at = start + int((end - start) * share)
        with path.open("r+b") as file:
            if hole:
                self.doubtful += len(group)
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 0xFF]))
            else:
                file.truncate(at)
        self.storage = self.open()

    def reopen(self) -> None:
        self.storage.close()
        self.storage = self.open()

    def free(self, cursors: dict[str, int]) -> None:
        for ident, cursor in cursors.items():
            self.wants[ident] = max(self.wants[ident], min(cursor, self.next))
        self.storage.free(lambda route, first, last: last >= self.wants[route.ident], self.next)

    def check(self) -> None:
        """All that is wanted is there, in order, as it was; what nobody wants may be there or not."""
        found: list[Frame] = []
        offset = 0
        while offset < self.storage.next:
            frames, offset = self.storage.read(offset, lambda route: True, 200)
            found += frames
        offsets = [frame.head.offset for frame in found]
        assert offsets == sorted(set(offsets))
        assert all(self.kept[frame.head.offset] == frame for frame in found)
        wanted = {at for at, frame in self.kept.items() if at >= self.wants[frame.head.ident]}
        assert wanted <= set(offsets)


def _refuse(fd: int) -> None:
    raise OSError(5, "refused")


@given(st.lists(actions, max_size=25))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_whole_groups_are_there(script: list[tuple[str, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder))
        for name, *arguments in script:
            getattr(model, name)(*arguments)
            model.check()
        model.reopen()
        model.check()
        model.storage.close()

"""Reads the packs of a data_dir for a replay: what inputs gave, in order, beside a daemon that frees and rewrites.

All files are opened at the start, so what was there then stays readable; the last whole group of then is the end. Taken
are packs of inputs, ticks, what the daemon reported of itself, and packs addressed to runners that the replay has too.
Left out are emissions, since the replay's own filters make them anew, and positions of inputs.

A pack that a filter was told to skip is named by its offset, which is another one in the replay. So the skip is given
anew, right before the pack, as `{"control":"skip","ahead":1}`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from dpiped.errors import DpipeError
from dpiped.journal.append import Draft
from dpiped.journal.bound import Bound
from dpiped.journal.file_view import BytesView
from dpiped.journal.inspect import Walk, segment_paths
from dpiped.journal.record import DROPPED, PACK, PREFIX_BYTES, Dropped
from dpiped.journal.segment import places, read_frame
from dpiped.journal.tail import tail_of
from dpiped.pack import CONTROL_IDENT, Head, decode_body

POSITION_IDENT = "_dpipe.position"


NAME = "_replay"
"""Name of the input that gives the packs; positions are filed under it."""


@dataclass
class Playback:
    """Files of one data_dir, open. Blocking; used by one thread at a time."""

    files: list[tuple[str, BinaryIO]]
    runners: Collection[str]
    """Names that the replay has."""
    start: Bound | None = None
    end: Bound | None = None
    damage: list[str] = field(default_factory=list)
    gone: int = 0
    """Offsets of the range that the daemon had given back; those of emissions among them."""
    freed: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of offsets of files that went while the others were opened."""
    _skips: dict[int, list[str]] = field(default_factory=dict)
    """Offset -> runners that were told to skip it."""
    _skip_packs: set[int] = field(default_factory=set)
    """Offsets of the packs that tell so."""
    _last_bytes: int = 0
    """What was whole of the last file at the start."""

    def prepare(self) -> None:
        """Learns where the end is, what is to be skipped and what is no more there."""
        for name, file in self.files:
            data = file.read()
            if name == self.files[-1][0]:
                self._last_bytes = tail_of(BytesView(Path(name), data)).last.end
                data = data[: self._last_bytes]
            self._survey(BytesView(Path(name), data))

    def _survey(self, data: BytesView) -> None:
        for place in places(data, []):
            packed = data.read(place.at + PREFIX_BYTES, place.head_length)
            try:
                if place.kind == PACK and CONTROL_IDENT.encode() in packed:
                    self._note_skip(data, place.at)
                elif place.kind == DROPPED:
                    self._note_gone(msgspec.msgpack.decode(packed, type=Dropped).ranges)
            except msgspec.DecodeError as exc:  # heads of packs are counted when they are read
                self.damage.append(f"record at byte {place.at}: {exc}")

    def read(self, position: int) -> Iterator[list[Draft]]:
        """The packs behind an offset, each with what goes right before it: these are to be appended together."""

        def takes(head: Head) -> bool:
            return head.offset > position and self._takes(head)

        walk = Walk(self.damage.append, self.start, self.end, self.freed)
        for name, file in self.files:
            file.seek(0)
            data = file.read(self._last_bytes if name == self.files[-1][0] else -1)
            for head, body in walk.frames(BytesView(Path(name), data), takes):
                yield [*self._skips_before(head), Draft(_as_new(head), None, body)]

    def _note_skip(self, data: BytesView, at: int) -> None:
        frame = read_frame(data, at)
        if frame is None or frame.head.ident != CONTROL_IDENT or frame.head.only not in self.runners:
            return
        head = frame.head
        said = json.loads(decode_body(frame.body, head.encoding))
        if said.get("control") == "skip":
            self._skip_packs.add(head.offset)
            if "offset" in said:
                self._skips.setdefault(int(said["offset"]), []).append(head.only)

    def _note_gone(self, ranges: list[tuple[int, int]]) -> None:
        start = (self.start.offset if self.start else 0) or 0
        end = (self.end.offset if self.end else None) or 1 << 62
        self.gone += sum(max(0, min(high, end) - max(low, start)) for low, high in ranges)

    def _takes(self, head: Head) -> bool:
        if head.cause is not None or head.ident == POSITION_IDENT:
            return False
        if head.only and (head.only not in self.runners or head.offset in self._skip_packs):
            return False
        if self.start is not None and not self.start.reached_by(head):
            return False
        return self.end is None or not self.end.reached_by(head)

    def _skips_before(self, head: Head) -> list[Draft]:
        names = self._skips.get(head.offset, [])
        return [_skip(name, head, ahead=len(names) - number) for number, name in enumerate(names)]

    def close(self) -> None:
        for _, file in self.files:
            file.close()


def open_playback(
    data_dir: Path, runners: Collection[str], start: Bound | None = None, end: Bound | None = None
) -> Playback:
    """Opens the segments that can hold a part of the range. Raises DpipeError; blocking."""
    paths = segment_paths(data_dir)
    if start is not None and start.offset is not None:
        later = [int(path.stem) for path in paths[1:]]
        paths = paths[sum(first <= start.offset for first in later) :]
    played = Playback([], runners, start, end)
    try:
        for path, following in zip(paths, [*paths[1:], None], strict=True):
            try:
                played.files.append((path.name, path.open("rb")))
            except FileNotFoundError:  # given back just now: it was gone before the replay began
                if following is not None:
                    played.freed.append((int(path.stem), int(following.stem)))
        played.prepare()
    except OSError as exc:
        played.close()
        raise DpipeError(f"{exc.filename or data_dir}: {exc.strerror}; a later --from needs fewer files") from exc
    return played


def _as_new(head: Head) -> Head:
    """As an input of the replay gives it. The position says how far it has come, also after a kill."""
    return msgspec.structs.replace(head, stream="", seq=-1, nonce="", position=(NAME, str(head.offset)))


def _skip(runner: str, head: Head, ahead: int) -> Draft:
    body = json.dumps({"control": "skip", "ahead": ahead}).encode() + b"\n"
    control = Head(ident=CONTROL_IDENT, accepted_ms=head.accepted_ms, raw_bytes=len(body), only=runner)
    return Draft(control, body)

"""Where one syslog message ends in a byte stream (RFC 6587): octet counting and line ends, found out frame by frame.

    frame = count " <" ... (count octets)  |  ... ("\\n" | "\\r\\n" | "\\0")

A count only counts if a `<` follows it, as it must in syslog; so a plain line that begins with a number is a line.

Frames travel as lines, in blocks and packs, so a line break inside of one is folded, and unfolded by the codec:

    "\\n" -> NUL DLE "n"        NUL -> NUL DLE "0"

No line ending stands in it and no text has such bytes, so lines that were never folded stay as they are.
Light: the collector's listener uses it too.
"""

from __future__ import annotations

import re

NEWLINE_FOLD, NUL_FOLD = b"\0\x10n", b"\0\x100"
_COUNTED = re.compile(rb"([1-9][0-9]{0,8}) <")
_MAYBE_COUNTED = re.compile(rb"[1-9][0-9]{0,8}(?: )?\Z")
_LINE_END = re.compile(rb"[\n\x00]")
_BAD_COUNT_FACTOR = 64
"""A count so many times over the limit is no frame but a defect: the frame is then read up to its line end."""


class FrameSplitter:
    """The frames of one connection; not thread-safe. Holds at most about `max_bytes` of an unfinished frame.

    `frames_cut` counts frames that were longer than `max_bytes` (their beginning is delivered, the rest thrown
    away), and `resynchronised` the places where a count was wrong: after it stands no frame, so the next one is
    looked for after the line end.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.frames_cut = 0
        self.resynchronised = 0
        self._buffer = b""
        self._skip_octets = 0
        self._skip_line = False
        self._after_count = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now, without their line ends; empty ones are left out."""
        buffer = self._buffer + data if self._buffer else data
        frames: list[bytes] = []
        position = 0
        if not self._skip_octets and not self._skip_line:
            position = self._whole_lines(buffer, frames)
        while position < len(buffer):
            end = self._next(buffer, position, frames)
            if end == position:
                break
            position = end
        self._buffer = buffer[position:]
        return frames

    def finish(self) -> list[bytes]:
        """The connection has ended: the unfinished frame, if there is one."""
        rest, self._buffer = self._buffer, b""
        counted = _COUNTED.match(rest)
        frame = _trim(rest[counted.end() - 1 :] if counted else rest)
        return [frame] if frame else []

    def _whole_lines(self, buffer: bytes, frames: list[bytes]) -> int:
        """Takes all lines at once if every one begins with `<`; where to go on."""
        end = buffer.rfind(b"\n") + 1
        if buffer[:1] != b"<" or not end or b"\0" in buffer:
            return 0
        lines = buffer[: end - 1].split(b"\n")
        if max(map(len, lines)) > self.max_bytes or {line[:1] for line in lines} != {b"<"}:
            return 0
        frames += map(_trim, lines) if b"\r" in buffer else lines
        self._after_count = False
        return end

    def _next(self, buffer: bytes, start: int, frames: list[bytes]) -> int:
        """Takes one frame, or what is to be thrown away; the place behind it, `start` if more bytes are needed."""
        if self._skip_octets:
            skipped = min(self._skip_octets, len(buffer) - start)
            self._skip_octets -= skipped
            return start + skipped
        if self._skip_line:
            end = _LINE_END.search(buffer, start)
            self._skip_line = end is None
            return len(buffer) if end is None else end.end()
        if buffer[start] in b"\r\n\0 " and self._after_count:
            return start + 1
        counted = _COUNTED.match(buffer, start)
        if counted is not None and int(counted[1]) <= self.max_bytes * _BAD_COUNT_FACTOR:
            return self._take_counted(buffer, counted.end() - 1, int(counted[1]), start, frames)
        if counted is None and len(buffer) - start < 12 and _MAYBE_COUNTED.match(buffer, start):
            return start
        if self._after_count and buffer[start] != 0x3C:
            self.resynchronised += 1
        self._after_count = False
        return self._take_line(buffer, start, frames)

    def _take_counted(self, buffer: bytes, first: int, count: int, start: int, frames: list[bytes]) -> int:
        wanted = min(count, self.max_bytes)
        if len(buffer) - first < wanted:
            return start
        if count > wanted:
            self.frames_cut += 1
            self._skip_octets = count - wanted
        frame = _trim(buffer[first : first + wanted])
        if frame:
            frames.append(frame)
        self._after_count = True
        return first + wanted

    def _take_line(self, buffer: bytes, start: int, frames: list[bytes]) -> int:
        end = _LINE_END.search(buffer, start)
        last = len(buffer) if end is None else end.start()
        if last - start > self.max_bytes:
            self.frames_cut += 1
            frames.append(buffer[start : start + self.max_bytes])
            self._skip_line = end is None
            return len(buffer) if end is None else end.end()
        if end is None:
            return start
        frame = _trim(buffer[start:last])
        if frame:
            frames.append(frame)
        return end.end()


def fold(frame: bytes) -> bytes:
    """The frame as one line, from which `unfold` makes it again."""
    return frame.replace(b"\0", NUL_FOLD).replace(b"\n", NEWLINE_FOLD)


def unfold(line: bytes) -> bytes:
    """The frame that was folded; any other line as it is."""
    return line.replace(NEWLINE_FOLD, b"\n").replace(NUL_FOLD, b"\0")


def flatten(frame: bytes) -> bytes:
    """The frame as one line for codecs that read only lines: written as rsyslog does, for good."""
    return frame.replace(b"\n", b"#012").replace(b"\0", b"#000")


def _trim(frame: bytes) -> bytes:
    """Without one line end, which senders add inside counted frames too."""
    if frame[-1:] in (b"\n", b"\0"):
        frame = frame[:-1]
    return frame[:-1] if frame[-1:] == b"\r" else frame

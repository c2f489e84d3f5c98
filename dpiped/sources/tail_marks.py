"""FileMark: how far one file was read, and how to know it again. Positions: the marks of all files of an input as one
text.

A file is known by a hash of its first 1,024 bytes (as many as it had; the length is stored). The inode is only a hint,
the device means nothing, and of two files that fit it is the name that decides. Where the head is shorter another log
may well begin alike, so name and mtime have to fit too. `tail` is a checksum of the up to 256 bytes before `offset`:
where it does not fit, the file was truncated. Offsets of gzip files count decompressed bytes.

The text of Positions, version 1, is JSON: {"version": 1, "files": [[id, path, source, inode, head_len, head, offset,
tail, skip, written_ns, home, read_size, read_ns, history], ..]}, paths as `path_to_text` writes them. From 4 KiB on it
is "z" and the base64 of that, compressed by zlib.
"""

from __future__ import annotations

import os
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from dpiped.errors import DpipeError
from dpiped.text import printable

HEAD_BYTES = 1024
TAIL_BYTES = 256
DATE_DIGITS = 6
"""A name that rotation put so many into has a date in it."""
_COMPRESS_FROM = 4096
SHOWN_MOST = 1024
_LONE = re.compile(r"[\ud800-\udfff]")
"""What Python makes of a byte of a name that is no UTF-8."""

_SUFFIXES = re.compile(r"(?:\.(?:gz|old|bak|backup|save|prev|orig)|(?:\.~\d+)?~)+$")
_NUMBERS = re.compile(r"_?[-._]\d[\d\-_.T:]*Z?(?=[-._]|$)")


class FileMark(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where the reading of one file goes on. Fields are only ever added, at the end."""

    id: int
    """Number of the file in this input, never used twice; a batch names its files by it."""
    path_text: str
    """`path`, as `path_to_text` writes it."""
    source_text: str
    """`source` in the same way, empty if it is the path."""
    inode: int
    head_len: int
    head: str
    offset: int
    tail: int
    skip: bool = False
    """The offset is inside of a line that was too long: the rest of it is not wanted."""
    written_ns: int = 0
    """Its mtime when it was last seen by the name it is followed by; what took its place was written later. 0: not
    known.
    """
    home_text: str = ""
    """`home` in the same way, empty if it is the source."""
    read_size: int = 0
    read_ns: int = 0
    """Its size and mtime when it was read to its end; 0: it never was."""
    history: int = 0
    """Nothing was read of it yet, and so many bytes at its beginning are not wanted."""

    @property
    def path(self) -> str:
        """Where it was last seen."""
        return path_from_text(self.path_text)

    @property
    def source(self) -> str:
        """Where it was first seen: the name by which it is followed."""
        return path_from_text(self.source_text or self.path_text)

    @property
    def home(self) -> str:
        """The real path of `source`, if that is a link: there rotation does its work."""
        return path_from_text(self.home_text) if self.home_text else self.source

    @property
    def place(self) -> str:
        """The real path at which it was last seen."""
        return os.path.realpath(self.path) if self.source_text else self.home

    @property
    def was_read_whole(self) -> bool:
        """Whether all lines that were in it at the last read are read."""
        return self.read_ns > 0 and (self.offset == self.read_size or self.path.endswith(".gz"))

    @property
    def is_short(self) -> bool:
        """So little was read of it that another log may well begin alike."""
        return self.head_len < HEAD_BYTES


def path_to_text(path: str) -> str:
    """A path as JSON can hold it. One that is no UTF-8 becomes a NUL, which no path has, and its bytes in Latin-1."""
    return "\0" + os.fsencode(path).decode("latin-1") if _LONE.search(path) else path


def path_from_text(text: str) -> str:
    """The path of which `path_to_text` made the text."""
    return os.fsdecode(text[1:].encode("latin-1", "replace")) if text.startswith("\0") else text


@lru_cache(maxsize=1 << 12)
def shown_path(path: str) -> str:
    """A path for people and heads, which take no control characters and no more than 1,024: bytes that are no UTF-8
    come as `\\xff`.
    """
    return printable(os.fsencode(path).decode(errors="backslashreplace"))[-SHOWN_MOST:]


def fingerprint(head: bytes) -> str:
    """The hash by which a file is known."""
    return blake2b(head, digest_size=8).hexdigest()


@lru_cache(maxsize=1 << 16)
def rotation_stem(path: str) -> str:
    """The base name without what rotation and editors add: numbers, dates, `.gz`, `.old`, `~`. `app.log.2.gz` is
    `app.log`.
    """
    return _NUMBERS.sub("", _SUFFIXES.sub("", Path(path).name))


def log_of(path: str) -> tuple[str, str]:
    """Folder, and name without what rotation adds."""
    return path.rpartition("/")[0], rotation_stem(path)


def same_log(path: str, other: str) -> bool:
    """Whether rotation may have made one name of the other."""
    return rotation_stem(path) == rotation_stem(other)


def is_backup_name(path: str) -> bool:
    """Whether an editor gives such a name to its copy of what it is about to change."""
    return path.endswith("~")


def is_rotated_name(path: str, log: str) -> bool:
    """Whether rotation surely made one name of the other: something was put behind it, or a date into it.
    `worker-1.log` is rather a neighbour of `worker.log`, and `worker.log~` a copy of it that an editor made.
    """
    name, base = Path(path).name, Path(log).name
    if not same_log(path, log) or name == base or is_backup_name(path):
        return False
    return name.startswith(base) or _is_dated(name)


@lru_cache(maxsize=1 << 12)
def is_copy_name(path: str, home: str) -> bool:
    """Whether rotation gives such a name to a copy of a log: in the same folder, and a date that is in its name stays.
    Both are real paths.
    """
    (folder, _, name), (home_folder, _, base) = path.rpartition("/"), home.rpartition("/")
    if folder != home_folder or name == base or not same_log(name, base):
        return False
    return name.startswith(base) or (not _is_dated(base) and is_rotated_name(name, rotation_stem(base)))


def may_name_copy(path: str, home: str) -> bool:
    """Whether it may be the name of a copy of a log. Besides those that surely are, `worker-1.log.gz` is one, which may
    be what a neighbour of `worker.log` was compressed to: only a whole head tells.
    """
    if is_copy_name(path, home):
        return True
    return path.endswith(".gz") and path != home and log_of(path) == log_of(home) and not _is_dated(Path(home).name)


def _is_dated(name: str) -> bool:
    return sum(map(str.isdigit, name)) - sum(map(str.isdigit, rotation_stem(name))) >= DATE_DIGITS


class Chunk(NamedTuple):
    """What one read of a file gave. With empty `data` only the mark moves."""

    mark: FileMark
    """The file after this chunk."""
    path: str
    """What the events call their source: the file's `source`, as `shown_path` writes it."""
    start: int
    end: int
    """Range of bytes in the file that `data` was made from."""
    crc: int
    """CRC-32 of those bytes; 0 where nobody reads them again."""
    data: bytes
    """Whole lines."""
    codec: str = ""
    """Set when the data must be read by another codec than the configured one: events of many lines come as JSON."""
    gone: bool = False
    """The file is finished and need not be remembered."""


class Positions:
    """The marks of all files whose chunks were applied. The consumer owns it, so it says what was settled, not what
    was read.
    """

    def __init__(self, marks: Iterable[FileMark] = (), next_id: int = 1) -> None:
        self.files: dict[int, FileMark] = {mark.id: mark for mark in marks}
        self.next_id = max([next_id, *(number + 1 for number in self.files)])

    def apply(self, chunk: Chunk) -> None:
        """The chunk is settled (or about to be, in the same transaction)."""
        self.next_id = max(self.next_id, chunk.mark.id + 1)
        if chunk.gone:
            self.files.pop(chunk.mark.id, None)
        else:
            self.files[chunk.mark.id] = chunk.mark

    def text(self) -> str:
        """All marks as one text; reading it back gives the same."""
        raw = msgspec.json.encode({"version": 1, "next": self.next_id, "files": list(self.files.values())})
        return raw.decode() if len(raw) < _COMPRESS_FROM else "z" + b64encode(zlib.compress(raw, 1)).decode()

    @classmethod
    def parse(cls, text: str) -> Positions:
        """Raises DpipeError when the text was not written by `text`."""
        try:
            raw = zlib.decompress(b64decode(text[1:])) if text.startswith("z") else text.encode()
            stored = msgspec.json.decode(raw, type=_Stored)
        except (ValueError, RecursionError, zlib.error) as exc:
            raise DpipeError(f"position of files cannot be read: {exc}") from exc
        if stored.version != 1:
            raise DpipeError(f"position of files has version {stored.version}: written by a newer dpipe")
        return cls(stored.files, stored.next)


class _Stored(msgspec.Struct):
    version: int
    files: list[FileMark]
    next: int = 1

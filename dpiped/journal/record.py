"""The record: bytes of one pack in a segment file, in a POST from a collector and between daemons. Version 1.

    offset  size  what
         0     3  magic "dP" and the version, 0x01
         3     1  kind: P pack, C commit, M marks, D dropped ranges
         4     4  length of the head, little endian
         8     4  length of the body
        12     4  CRC-32 of the 12 bytes before: after damage the next record is found by scanning for a good prefix
        16     h  head: msgpack of one Struct (Head, Commit, Marks, Dropped)
      16+h     b  body, only of packs: as `encoding` of the head says
    16+h+b     4  CRC-32 of head and body

Whatever a later version changes, the first 16 bytes stay as they are, so that this one knows what it cannot read.
On the wire (`application/x-dpipe`) only P records appear, one after the other with nothing between them; consecutive
ones with the same stream, seq and nonce are one batch, taken whole or not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

import msgspec

from dpiped.errors import DpipeError
from dpiped.pack import Head

MAGIC = b"dP\x01"
PACK, COMMIT, MARKS, DROPPED = b"P", b"C", b"M", b"D"
PREFIX_BYTES = 16
OVERHEAD_BYTES = PREFIX_BYTES + 4
CONTENT_TYPE = "application/x-dpipe"

_PREFIX = struct.Struct("<3scII")
_CRC = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
_heads = msgspec.msgpack.Decoder(Head)


class Commit(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Ends a group: it names the records before it, so that a torn or stale group is never taken for whole."""

    records: int
    """How many records, marks included."""
    size: int
    """Bytes of all of them."""
    crc: int
    """CRC-32 over the four-byte checksums of all of them, in order."""


class Marks(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """First record of each segment: what all heads before it tell."""

    next: int = 0
    """The next offset when the segment was begun."""
    streams: dict[str, tuple[int, str, int]] = {}
    """stream -> (seq, nonce, when last used in milliseconds)."""
    positions: dict[str, str] = {}
    """input -> where it goes on."""
    emitted: dict[str, int] = {}
    """filter -> last offset whose emissions are in the journal."""


class Dropped(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """In a rewritten segment: half-open offset ranges that were there and that nobody wanted any more."""

    ranges: list[tuple[int, int]]


class Frame(NamedTuple):
    """A pack as it is stored or sent."""

    head: Head
    body: bytes
    """As `head.encoding` says."""


class FrameError(DpipeError):
    """These bytes are not a record."""


class NewerFormatError(DpipeError):
    """A file was written by a newer dpipe: it is not touched."""


def encode_record(kind: bytes, head: msgspec.Struct, body: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """(prefix and head, body, checksum): three pieces, so that the body is not copied."""
    packed = _encoder.encode(head)
    prefix = _PREFIX.pack(MAGIC, kind, len(packed), len(body))
    return (
        prefix + _CRC.pack(crc32(prefix)) + packed,
        body,
        _CRC.pack(crc32(body, crc32(packed))),
    )


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one pack on the wire."""
    return b"".join(encode_record(PACK, frame.head, frame.body))


def parse_prefix(data: bytes | memoryview, at: int = 0) -> tuple[bytes, int, int] | None:
    """(kind, length of head, length of body) of the record at `at`; None if there is no good prefix."""
    if len(data) - at < PREFIX_BYTES:
        return None
    magic, kind, head_length, body_length = _PREFIX.unpack_from(data, at)
    if magic != MAGIC or _CRC.unpack_from(data, at + 12)[0] != crc32(data[at : at + 12]):
        return None
    return kind, head_length, body_length


def newer_version(prefix: bytes) -> int | None:
    """The version of a sound prefix that is of a later one; None for everything else."""
    if len(prefix) < PREFIX_BYTES or prefix[:2] != MAGIC[:2] or prefix[2] <= MAGIC[2]:
        return None
    return prefix[2] if _CRC.unpack_from(prefix, 12)[0] == crc32(prefix[:12]) else None


def check_record(record: bytes | memoryview, head_length: int, body_length: int) -> bool:
    """Whether the checksum of a whole record is right."""
    end = PREFIX_BYTES + head_length + body_length
    return bool(_CRC.unpack_from(record, end)[0] == crc32(record[PREFIX_BYTES:end]))


def decode_head(data: bytes | memoryview) -> Head:
    """Raises msgspec.DecodeError or ValidationError."""
    try:
        return _heads.decode(data)
    except (UnicodeDecodeError, RecursionError) as exc:  # a text that is none, or fields of another version too deep
        raise msgspec.DecodeError(str(exc)) from exc


def iter_frames(data: bytes) -> Iterator[Frame]:
    """The frames of a body of `application/x-dpipe`.

    Raises:
        FrameError: at the first byte that is not as it should be; what came before it has been yielded.
    """
    at = 0
    while at < len(data):
        prefix = parse_prefix(data, at)
        if prefix is None or prefix[0] != PACK:
            raise FrameError(f"no frame at byte {at}: is this {CONTENT_TYPE}?")
        _, head_length, body_length = prefix
        end = at + PREFIX_BYTES + head_length + body_length
        if end + 4 > len(data):
            raise FrameError(f"frame at byte {at} is cut off")
        if not check_record(data[at : end + 4], head_length, body_length):
            raise FrameError(f"frame at byte {at} has a wrong checksum")
        try:
            head = decode_head(data[at + PREFIX_BYTES : at + PREFIX_BYTES + head_length])
        except msgspec.DecodeError as exc:
            raise FrameError(f"frame at byte {at} has a damaged head: {exc}") from exc
        yield Frame(head, data[end - body_length : end])
        at = end + 4

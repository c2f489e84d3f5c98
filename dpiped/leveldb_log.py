"""What LevelDB does not see: a damaged length in the last block of one of its logs.

LevelDB takes a record that runs past the end of its log for one that a crash cut off, and passes over it and all that
follows, without a word. If a sound record follows, it was no crash. Its last record cannot be told from a torn one.

A log is blocks of 32 KiB of records: masked CRC-32C of type and data (4 bytes), length (2), type (1), data; the last up
to 6 bytes of a block are zeros. Source: doc/log_format.md of LevelDB.
"""

from __future__ import annotations

import struct
from pathlib import Path

BLOCK_BYTES = 32 << 10
_HEADER = struct.Struct("<IHB")
_LAST_TYPE = 4
FIRST_BYTES = 128
"""No less than the first batch of a database takes, which names its format."""


def hides_records(path: Path) -> bool:
    """Whether sound records stand behind the place where LevelDB stops reading. Raises OSError."""
    size = path.stat().st_size
    begin = (size - 1) // BLOCK_BYTES * BLOCK_BYTES if size else 0
    with path.open("rb") as file:
        file.seek(begin)
        block = file.read(BLOCK_BYTES)
    at = 0
    while at + _HEADER.size <= len(block):
        _, length, _ = _HEADER.unpack_from(block, at)
        if at + _HEADER.size + length > len(block):
            return any(_is_record(block, after) for after in range(at + 1, len(block) - _HEADER.size))
        at += _HEADER.size + length
    return False


def was_written(path: Path) -> bool:
    """Whether more than a part of the first batch may have got into it. Raises OSError."""
    with path.open("rb") as file:
        data = file.read(FIRST_BYTES + 1)
    return len(data) > FIRST_BYTES or (len(data) >= _HEADER.size and _is_record(data, 0))


def _is_record(block: bytes, at: int) -> bool:
    crc, length, kind = _HEADER.unpack_from(block, at)
    end = at + _HEADER.size + length
    fits = 1 <= kind <= _LAST_TYPE and length > 0 and end <= len(block)
    return bool(fits and crc == _masked(block[at + 6 : end]))


def _masked(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = tuple(_entry(value) for value in range(256))
"""CRC-32C, a byte at a time; it is used on a few kilobytes, and only where a log ends strangely."""

"""Undoing what senders did to a body, within a limit: gzip (several members), deflate (with and without header),
zstd.
"""

from __future__ import annotations

import zstandard

from dpiped import gzip, zstd
from dpiped.errors import DpipeError

_CHUNK = 1 << 20


class UnknownEncodingError(DpipeError):
    """The name of the encoding is not known: 415."""


class TooLargeError(DpipeError):
    """It is larger than allowed: 413."""


class DamagedError(DpipeError):
    """It is not what its name says, or cut off: 422."""


def decompress(encoding: str, data: bytes, max_bytes: int) -> bytes:
    """The bytes before compression. Never holds more than `max_bytes` and a little.

    Raises:
        UnknownEncodingError, TooLargeError, DamagedError
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        if len(data) > max_bytes:
            raise TooLargeError(f"the body has more than {max_bytes} bytes")
        return data
    if not data:
        return b""
    if name in ("gzip", "x-gzip"):
        return _inflate(data, 31, max_bytes, "gzip")
    if name == "deflate":
        return _deflate(data, max_bytes)
    if name == "zstd":
        return _zstd(data, max_bytes)
    raise UnknownEncodingError(f"content encoding {encoding!r} is not known: use gzip, deflate, zstd or none")


def is_one_frame(encoding: str, data: bytes, raw_bytes: int) -> bool:
    """Whether the whole body stands in the first zstd frame: only then one call brings it back."""
    return encoding == "zstd" and zstandard.frame_content_size(data) == raw_bytes


def _deflate(data: bytes, max_bytes: int) -> bytes:
    """With the zlib header that the standard asks for, or without, as some clients send it."""
    has_header = len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    if has_header:
        try:
            return _inflate(data, 15, max_bytes, "deflate")
        except DamagedError:
            pass  # two bytes can look like a header by chance
    return _inflate(data, -15, max_bytes, "deflate")


def _inflate(data: bytes, wbits: int, max_bytes: int, name: str) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data:
        member = gzip.unpacker(wbits)
        while not member.eof:
            try:
                piece = member.decompress(data, min(_CHUNK, max_bytes - size + 1))
            except gzip.GzipError as exc:
                raise DamagedError(f"the body is not {name}: {exc}") from exc
            data = member.unconsumed_tail
            size += len(piece)
            if size > max_bytes:
                raise TooLargeError(f"the body has more than {max_bytes} bytes when decompressed")
            if not piece and not member.eof and not data:
                raise DamagedError(f"the body ends in the middle of its {name} data")
            pieces.append(piece)
        data = member.unused_data if wbits == 31 else b""
        if not data.strip(b"\0"):  # padding, as some tools write it
            break
    return b"".join(pieces)


def _zstd(data: bytes, max_bytes: int) -> bytes:
    """One frame whose size is in its head goes in one call; others are read piece by piece."""
    try:
        size = zstandard.frame_content_size(data)
        if size > max_bytes:
            raise TooLargeError(f"the body has more than {max_bytes} bytes when decompressed")
        if size > 0:
            try:
                return zstd.decompress(data)
            except zstandard.ZstdError:
                pass  # several frames, or damaged: the careful way tells
        return _zstd_stream(data, max_bytes)
    except zstandard.ZstdError as exc:
        raise DamagedError(f"the body is not zstd: {exc}") from exc


def _zstd_stream(data: bytes, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(write_size=_CHUNK)
        at = 0
        while at < len(data) and not reader.eof:
            piece = reader.decompress(data[at : at + (1 << 16)])
            at += 1 << 16
            size += len(piece)
            if size > max_bytes:
                raise TooLargeError(f"the body has more than {max_bytes} bytes when decompressed")
            pieces.append(piece)
        if not reader.eof:
            raise DamagedError("the body ends in the middle of its zstd data")
        data = reader.unused_data + data[at:]
    return b"".join(pieces)

"""gzip and deflate by ISA-L, which unpacks in a third of the time of zlib and packs in a tenth.

It packs less tightly, so what is kept (files, objects) is packed by zlib. Source: measured with log lines of 320 bytes,
per line: unpacking 147 ns and 421, packing 376 ns at a ratio of 5.5 and 4,247 at 7.4.
"""

from __future__ import annotations

from typing import IO, Any

from isal import igzip, isal_zlib

GzipError: type[Exception] = isal_zlib.error
"""What an unpacker raises over damaged data; of data that is cut off it just gives less."""
_LEVEL = 1


def pack(data: bytes) -> bytes:
    """One member without a time in it, so that equal data gives equal bytes."""
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, 31)
    return bytes(packer.compress(data) + packer.flush())


def unpack(data: bytes) -> bytes:
    """All members; only for data that can be trusted in its size."""
    return bytes(igzip.decompress(data))


def unpacker(wbits: int = 31) -> Any:
    """For one member, as `zlib.decompressobj`: 31 gzip, 15 deflate with its header, -15 without."""
    return isal_zlib.decompressobj(wbits)


def unpacked(file: IO[bytes]) -> Any:
    """A file of members, unpacked while it is read. Raises EOFError, OSError or GzipError where it is damaged."""
    return igzip.IGzipFile(fileobj=file, mode="rb")

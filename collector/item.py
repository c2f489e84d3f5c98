"""Item: what becomes one frame of a batch, with the range it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from collector.checkpoint import Range
from dpiped.journal.record import PACK, encode_record
from dpiped.pack import COMPRESS_FROM_BYTES, COMPRESSION, Head, decode_body

if TYPE_CHECKING:
    from collector.feed import Feed


@dataclass(frozen=True, slots=True)
class Item:
    """Some lines of one file or block. With `raw_bytes` 0 there is no frame: it only moves a mark when its turn
    comes.
    """

    feed: Feed
    range: Range
    host: str
    encoding: str
    body: bytes
    raw_bytes: int

    def count_lines(self) -> int:
        """How many lines it has; decompresses, so it is only asked when something is given up."""
        return decode_body(self.body, self.encoding, self.raw_bytes).count(b"\n")

    def frame(self, stream: str, seq: int, nonce: str) -> tuple[bytes, bytes, bytes]:
        """The frame under a batch id, in three pieces."""
        what = self.range
        head = Head(
            project=what.project,
            ident=what.ident,
            source=what.source,
            host=self.host,
            raw_bytes=self.raw_bytes,
            encoding=self.encoding,
            stream=stream,
            seq=seq,
            nonce=nonce,
            codec=what.codec,
        )
        return encode_record(PACK, head, self.body)


class Packer:
    """Compresses bodies; one compressor for all, so use it from one thread at a time."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(compression_params=COMPRESSION)

    def pack(self, feed: Feed, what: Range, host: str, data: bytes) -> Item:
        """The item of some whole lines."""
        if len(data) < COMPRESS_FROM_BYTES:
            return Item(feed, what, host, "", data, len(data))
        compressed = bytes(memoryview(self._compressor.compress(data)))  # see dpiped.pack.encode_body
        return Item(feed, what, host, "zstd", compressed, len(data))

"""Item: what becomes one frame of a batch, with the range it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from collector.checkpoint import Range
from dpiped.journal.record import PACK, encode_record
from dpiped.pack import Head, count_lines, decode_body, encode_body

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
        return count_lines(decode_body(self.body, self.encoding))

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


def pack(feed: Feed, what: Range, host: str, data: bytes) -> Item:
    """The item of some whole lines, compressed if that is worth it."""
    encoding, body = encode_body(data)
    return Item(feed, what, host, encoding, body, len(data))

"""Codec `raw`: each line is the `message` of an event, accepted now.

One CR before the line end is cut, empty lines are skipped, other blanks stay. Bytes that are not UTF-8 become
U+FFFD, counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from dpiped.codecs.base import Codec, DecodeContext, Decoded, Part, lacking
from dpiped.codecs.config import RawCodecConfig
from dpiped.codecs.lines import cut_lines, quote_all, read_text


class RawCodec(Codec):
    """Stateless. Rejects nothing."""

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        text, invalid = read_text(data)
        lines = text.split("\n")
        if "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
        hosts = context.hosts
        if hosts is not None:
            hosts = [host for host, line in zip(hosts, lines, strict=False) if line]
        lines = [line for line in lines if line]
        answer = Decoded()
        if lines:
            body = _body(lines, hosts, context.accepted_ms)
            ms = context.accepted_ms
            answer.parts.append(Part("", body, len(lines), ms, ms, None, lacking(hosts)))
        if invalid:
            answer.counts["invalid_utf8"] = invalid
        return answer

    def encode(self, body: bytes) -> bytes:
        """The messages; a line break in one becomes a blank, and an event without message stays an object."""
        lines = [
            line if message is None else message.replace("\r", " ").replace("\n", " ").encode()
            for line, message in messages(body)
        ]
        return b"\n".join([*lines, b""])

    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        return cut_lines(data, most_bytes)


def build(config: RawCodecConfig) -> Codec:
    """The codec of this config; it has no options."""
    return RawCodec()


class _Message(msgspec.Struct, gc=False):
    message: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(_Message)


def messages(body: bytes) -> Iterator[tuple[bytes, str | None]]:
    """(line, its `message`) of each event; None where it has no text of that name."""
    for line, event in zip(body.split(b"\n"), _decoder.decode_lines(body), strict=False):
        text = bytes(event.message)
        yield line, msgspec.json.decode(text) if text[:1] == b'"' else None


def _body(lines: list[str], hosts: Sequence[str] | None, ms: int) -> bytes:
    if hosts is None:
        front = b'{"@timestamp":%d,"message":"' % ms
        # all in one: the texts as a JSON array, in which `","` stands only between two
        return front + msgspec.json.encode(lines)[2:-2].replace(b'","', b'"}\n' + front) + b'"}\n'
    quoted = quote_all(lines)
    heads = {host: b'{"@timestamp":%d,"_host":%b,' % (ms, msgspec.json.encode(host)) for host in set(hosts)}
    made = [b'%b"message":"%b"}\n' % (heads[host], text) for host, text in zip(hosts, quoted, strict=True)]
    return b"".join(made)

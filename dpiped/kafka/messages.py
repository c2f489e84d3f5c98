"""Messages: the codec of one block of messages, where each is read by itself, or gets fields that its message brought.

Most blocks need neither: their values, one a line, are read by the input's own codec in one go. This one is for values
that are not one line each (arrays, pretty-printed objects) or could go on in the next (half an object, an open quote),
for values that were found unreadable before, and for fields such as key and offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dpiped.codecs.base import Codec, DecodeContext, Decoded, Part, Rejected
from dpiped.codecs.lines import newlines_of
from dpiped.codecs.settle import settle


def is_plain(values: Sequence[bytes], data: bytes, codec: Codec) -> bool:
    """Whether the values of `data`, joined by newlines, may be read in one go: none can go on in the next."""
    if codec.name != "json":
        return not codec.quote or codec.quote not in data
    if data[:1] != b"{" or data[-2:] != b"}\n" or not _one_line_each(values, data):
        return False
    return data.count(b"}\n{") == len(values) - 1  # never inside of a value: there a comma or a bracket would follow


def _one_line_each(values: Sequence[bytes], data: bytes) -> bool:
    return len(newlines_of(data)) == len(values)


class Messages(Codec):
    """Made for one block.

    Args:
        fields: of each message, as `fields_of` makes them; shape (n_values,). Empty: none has any.
        damaged: index -> why the value cannot be read.
    """

    weighty = ()

    def __init__(
        self,
        codec: Codec,
        values: Sequence[bytes],
        fields: Sequence[Mapping[str, bytes]] = (),
        damaged: Mapping[int, str] | None = None,
    ) -> None:
        self.name = codec.name
        self._codec = codec
        self._values = values
        self._fields = fields
        self._damaged = damaged or {}

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        """`data` is the values, joined by newlines."""
        decoded = self._decode_whole(data, context) or self._decode_each(context)
        if context.time is not None and self._brings(context.time.field):
            _set_times(decoded, context)
        return decoded

    def _brings(self, path: str) -> bool:
        """Whether messages bring the field of this path: one of theirs, or what is in one, as in headers."""
        return any(path in fields or path.partition(".")[0] in fields for fields in self._fields)

    def decode_quickly(self, data: bytes, context: DecodeContext) -> Decoded | None:
        return None

    def _decode_whole(self, data: bytes, context: DecodeContext) -> Decoded | None:
        """In one go, if every message turns out to be one event."""
        if self._damaged or not _one_line_each(self._values, data):
            return None
        if self.name == "json" and not is_plain(self._values, data, self._codec):
            return None
        decoded = self._codec.decode(data, context)
        if decoded.rejected or len(decoded.parts) != 1 or decoded.parts[0].count != len(self._values):
            return None
        if self._fields:
            part = decoded.parts[0]
            lines = map(_with, _lines_of(part), self._fields)
            decoded.parts = [Part(part.suffix, b"".join(lines), part.count, part.min_ts, part.max_ts, None)]
            decoded.form = None
        return decoded

    def _decode_each(self, context: DecodeContext) -> Decoded:
        whole = Decoded()
        parts: dict[str, list[Part]] = {}
        for index, value in enumerate(self._values):
            if index in self._damaged:
                whole.rejected.append(Rejected(index + 1, self._damaged[index], value))
                continue
            one = self._codec.decode(value, context)
            whole.rejected += [Rejected(index + 1, bad.reason, bad.raw) for bad in one.rejected]
            whole.counts.update(one.counts)
            for part in one.parts:
                parts.setdefault(part.suffix, []).append(self._part(part, index))
        whole.parts = [_joined(suffix, some) for suffix, some in parts.items()]
        return whole

    def _part(self, part: Part, index: int) -> Part:
        if not self._fields:
            return part
        body = b"".join(_with(line, self._fields[index]) for line in _lines_of(part))
        return Part(part.suffix, body, part.count, part.min_ts, part.max_ts, None)

    def encode(self, body: bytes) -> bytes:
        return self._codec.encode(body)

    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        """Never cut: the block is bounded by who made it."""
        return [data]


def _joined(suffix: str, parts: Sequence[Part]) -> Part:
    known = [part.events for part in parts if part.events is not None]
    events = [event for some in known for event in some] if len(known) == len(parts) else None
    return Part(
        suffix,
        b"".join([part.body for part in parts]),
        sum(part.count for part in parts),
        min(part.min_ts for part in parts),
        max(part.max_ts for part in parts),
        events,
    )


def _set_times(decoded: Decoded, context: DecodeContext) -> None:
    """Anew, now that the events have the fields of their messages."""
    for what in ("time_missing", "time_invalid"):
        decoded.counts.pop(what, 0)
    decoded.parts = [
        settle(_lines_of(part), context, decoded.counts, suffix=part.suffix, timed=True) for part in decoded.parts
    ]


def _lines_of(part: Part) -> list[bytes]:
    """The events, without their newlines. A CR may stand in them as a blank."""
    return part.body.split(b"\n")[:-1]


def _with(line: bytes, fields: Mapping[str, bytes]) -> bytes:
    """The event as a line, with fields of its message, never a key twice: what the event says itself stays."""
    if any(b'"' + name.encode() + b'"' in line for name in fields):
        own = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        fields = {name: value for name, value in fields.items() if name not in own}
    added = b"".join(b"," + msgspec.json.encode(name) + b":" + value for name, value in fields.items())
    return line[:-1] + added + b"}\n"

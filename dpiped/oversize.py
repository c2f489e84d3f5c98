"""Events that are larger than an input's `max_event_bytes` are taken out of what a codec gave, and rejected."""

from __future__ import annotations

import dataclasses

from dpiped.codecs.base import DecodeContext, Decoded, Part, Rejected


def take_out_large(decoded: Decoded, most: int, context: DecodeContext) -> None:
    """Moves events of more than `most` bytes from the parts to the rejected. Costs nothing where no part is so large.

    Their line numbers leave out blank lines, and count on from part to part.
    """
    if all(len(part.body) <= most for part in decoded.parts):
        return
    bad = {line.line for line in decoded.rejected}
    number = 0
    kept: list[Part] = []
    for part in decoded.parts:
        lines = part.body.split(b"\n")[:-1]
        numbers = []
        for _ in lines:
            number += 1
            while number in bad:
                number += 1
            numbers.append(number)
        good = [index for index, line in enumerate(lines) if len(line) <= most]
        decoded.rejected += [
            Rejected(number, f"the event has {len(line)} bytes, max_event_bytes is {most}", line)
            for number, line in zip(numbers, lines, strict=True)
            if len(line) > most
        ]
        if len(good) == len(lines):
            kept.append(part)
        elif good:
            kept.append(_only(part, lines, good, context))
    if kept != decoded.parts:
        decoded.form = None
    decoded.parts = kept
    decoded.rejected.sort(key=lambda line: line.line)


def _only(part: Part, lines: list[bytes], good: list[int], context: DecodeContext) -> Part:
    """The part with these events alone."""
    body = b"".join(lines[index] + b"\n" for index in good)
    events = context.projection.decode(body)
    stamps = [at for at in context.projection.column(events, "@timestamp") if isinstance(at, int)]
    kept = events if part.events is not None else None
    return dataclasses.replace(part, body=body, count=len(good), min_ts=min(stamps), max_ts=max(stamps), events=kept)

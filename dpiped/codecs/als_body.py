"""From lines `area,ts,{json}` to the body that they mean, all at once, where nothing has to be looked at one by one.

This is also how a body is read that is stored as the lines it came as (encoding "als+zstd" of a head): so for lines
that were once taken, what is made of them never changes.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from dpiped.codecs.als_columns import plain_body
from dpiped.codecs.lines import newlines_of
from dpiped.config.base import is_ident

_REMEMBERED = 10_000
_LINE = re.compile(rb"\n((?::[^,\n]*,)?[^,\n]*),([0-9]{13}),\{")
"""The newline before a line and all in front of its payload, if the stamp is in milliseconds."""
_MANY_LINES = 64
"""From so many on columns take half the time of the pattern."""


class _Front(NamedTuple):
    """What becomes of that which stands before the stamp of a line, such as `:click,us`."""

    suffix: str
    members: bytes
    """What follows the stamp in the event."""


class Bodies(NamedTuple):
    """What some lines mean."""

    events: int
    by_suffix: dict[str, tuple[int, bytes]]
    """suffix -> (number of events, their body)."""


_known: dict[bytes, _Front] = {}


def tidy(data: bytes) -> bytes:
    """The lines, each ending with a newline, without blank ones around them."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    is_tidy = data[:1] != b"\n" and data[-1:] == b"\n" and data[-2:-1] != b"\n"
    return data if is_tidy else data.strip(b"\n") + b"\n"


def bodies_of(data: bytes, newlines: Any) -> Bodies | None:
    """None if a line has no stamp in milliseconds, or a head that has to be looked at.

    Args:
        data: tidy.
        newlines: their places, shape (n_lines,).
    """
    count = len(newlines)
    body = plain_body(data, newlines) if count >= _MANY_LINES else None
    return Bodies(count, {"": (count, body)}) if body is not None else _by_pattern(data, count)


def body_of(data: bytes) -> bytes:
    """The one body of lines that `bodies_of` took before. Raises ValueError for any other."""
    lines = tidy(data)
    bodies = bodies_of(lines, newlines_of(lines))
    if bodies is None or len(bodies.by_suffix) != 1:
        raise ValueError("these are no lines of one body")
    return next(iter(bodies.by_suffix.values()))[1]


def suffix_of(category: bytes) -> str | None:
    """The ident part that `:category` means; None if it cannot be one."""
    if not category:
        return ""
    name = category[1:].decode(errors="replace")
    return name if category[:1] == b":" and "." not in name and is_ident(name) else None


def _by_pattern(data: bytes, count: int) -> Bodies | None:
    """One call takes all lines apart: where as many lines match as there are, each does."""
    nothing, *pieces = _LINE.split(b"\n" + data[:-1])
    if nothing or len(pieces) != 3 * count:
        return None
    texts, stamps, rests = pieces[0::3], pieces[1::3], pieces[2::3]
    try:
        fronts = {text: _known.get(text) or _remember(text) for text in dict.fromkeys(texts)}
    except ValueError:
        return None
    return Bodies(count, _by_suffix(texts, stamps, rests, fronts))


def _remember(text: bytes) -> _Front:
    if len(_known) >= _REMEMBERED:
        _known.clear()
    front = _known[text] = _read(text)
    return front


def _read(text: bytes) -> _Front:
    """Raises ValueError for a head that is not plain: the careful way says what is wrong with it, if anything."""
    *category, area = text.split(b",")
    suffix = suffix_of(category[0]) if category else ""
    if suffix is None or not area or len(category) > 1 or (not category and area[:1] == b":"):
        raise ValueError(text)
    return _Front(suffix, b',"_area":%b,' % msgspec.json.encode(area.decode()))


def _by_suffix(
    texts: list[bytes], stamps: list[bytes], rests: list[bytes], fronts: dict[bytes, _Front]
) -> dict[str, tuple[int, bytes]]:
    """Columns of shape (n_lines,)."""
    members_of = {text: front.members for text, front in fronts.items()}
    members = list(map(members_of.__getitem__, texts))
    if len({front.suffix for front in fronts.values()}) == 1:
        return {fronts[texts[0]].suffix: (len(stamps), _body(stamps, members, rests))}
    groups: dict[str, list[int]] = {front.suffix: [] for front in fronts.values()}
    add_of = {text: groups[front.suffix].append for text, front in fronts.items()}
    for number, text in enumerate(texts):
        add_of[text](number)
    return {
        suffix: (len(group), _body(*([column[number] for number in group] for column in (stamps, members, rests))))
        for suffix, group in groups.items()
    }


def _body(stamps: list[bytes], members: list[bytes], rests: list[bytes]) -> bytes:
    """The canonical body, joined at once."""
    pieces = [b'\n{"@timestamp":'] * (4 * len(stamps) + 1)
    pieces[0], pieces[-1] = b'{"@timestamp":', b"\n"
    pieces[1::4], pieces[2::4], pieces[3::4] = stamps, members, rests
    return b"".join(pieces)

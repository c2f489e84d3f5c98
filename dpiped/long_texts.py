"""Long texts where they are held for long, as groups, distinct values or top lists: what bounds the number of values
bounds their memory only if each of them is bounded too.

A text of more than LONGEST characters is held as its first KEPT and a hash of the whole: as a value of its own, and the
same wherever it comes from.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec

LONGEST = 4_096
"""Characters; also the bytes of a line in which there can be no longer text."""
KEPT = 1_000
_encode = msgspec.json.Encoder().encode
_LINES = re.compile(rb"(?:.{0,%d}\n)*+" % (LONGEST - 1), re.DOTALL)
"""It leaps to the last line end within LONGEST bytes, again and again: 10 ns for a line of 300 bytes, where a look at
each value takes 25 (measured).
"""


def has_long_lines(body: bytes) -> bool:
    """Whether a canonical body has a line of more than LONGEST bytes: no other can hold a long text."""
    found = _LINES.match(body)
    return found is None or found.end() < len(body)


def held(value: Any) -> Any:
    """What is held of a value. Of what it returns, it returns the same."""
    if type(value) is not str or len(value) <= LONGEST:
        return value
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{value[:KEPT]}..{digest}"


def held_with_lists(value: Any) -> Any:
    """The same of any value: a list counts as its JSON, and becomes a text where that is long."""
    if type(value) is not list:
        return held(value)
    text = _encode(value).decode()
    return value if len(text) <= LONGEST else held(text)

"""What values on command lines may be, as `type` of argparse: what is wrong is told in one line, with status 2."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from math import isfinite

from msgspec import Meta

from dpiped.config.base import parts_of_url
from dpiped.journal.bound import BoundError, parse_bound
from dpiped.matcher import Pattern, PatternError

LONGEST_SECS = 366 * 86_400.0
MOST = (1 << 63) - 1


def whole(most: int = MOST) -> Callable[[str], int]:
    """A whole number from 1 on."""
    expected = f"expected a whole number from 1 to {most}" if most < MOST else "expected a whole number from 1 on"

    def read(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) < len(str(MOST))
        if not is_number or not 0 < int(text) <= most:
            raise ArgumentTypeError(f'"{text[:40]}": {expected}')
        return int(text)

    return read


def told_by(meta: Meta) -> Callable[[str], str]:
    """A text as the admin API takes it."""

    def read(text: str) -> str:
        if re.search(meta.pattern or "", text) is None:
            raise ArgumentTypeError(f'"{text[:40]}": expected {meta.description}')
        return text

    return read


def pattern(text: str) -> str:
    """A pattern of idents, as in `match`."""
    try:
        Pattern(text)
    except PatternError as exc:
        raise ArgumentTypeError(f'"{text[:80]}": {exc}') from exc
    return text


def secs(text: str) -> float:
    """Seconds above 0, of a year at most."""
    found = secs_or_none(text)
    if not found:
        raise ArgumentTypeError(f'"{text[:40]}": expected seconds above 0')
    return found


def secs_or_none(text: str) -> float:
    """The same, or 0."""
    try:
        found = float(text)
    except ValueError as exc:
        raise ArgumentTypeError(f'"{text[:40]}": expected seconds') from exc
    if not isfinite(found) or not 0 <= found <= LONGEST_SECS:
        raise ArgumentTypeError(f'"{text[:40]}": expected seconds from 0 to {LONGEST_SECS:.0f}')
    return found


def place(text: str) -> str:
    """A time or an offset, as `parse_bound` reads it."""
    try:
        parse_bound(text, 0)
    except BoundError as exc:
        raise ArgumentTypeError(str(exc)) from exc
    return text


def time(text: str) -> str:
    """The same, but no offset."""
    try:
        is_time = parse_bound(text, 0).ms is not None
    except BoundError:
        is_time = False
    if not is_time:
        raise ArgumentTypeError(f'"{text[:40]}": expected a time such as 2026-03-01T12:00:00Z, or -2h')
    return text


def url(text: str) -> str:
    """`http://HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`."""
    parts = parts_of_url(text if "://" in text else f"http://{text}")
    if parts is None or any(character <= " " for character in text):
        raise ArgumentTypeError(f'"{text[:80]}": expected an address such as http://127.0.0.1:9876')
    return text

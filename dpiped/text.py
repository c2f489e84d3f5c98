"""Plain text for terminals: aligned columns, sizes. Nothing that it writes can steer a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def table(rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns, numbers to the right; the first row is the header. Empty when there is nothing below it."""
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [all(isinstance(row[n], int | float) for row in rows[1:]) for n in range(len(widths))]
    lines = [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in texts
    ]
    return "".join(f"{line}\n" for line in lines)


def printable(text: str) -> str:
    """With control characters as `\\x1b`: texts of events may hold anything."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def size(amount: int) -> str:
    """`1.4 MiB`."""
    value = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"

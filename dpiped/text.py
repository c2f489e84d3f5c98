"""Plain text for terminals: aligned columns, sizes. Nothing that it writes can steer a terminal."""

from __future__ import annotations

from collections.abc import Sequence

_TURNING = (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Line ends of Unicode, and what turns the direction of the text behind it."""
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {code: f"\\u{code:04x}" for code in _TURNING}


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
    """With control characters as `\\x1b`: texts of events may hold anything, and none may steer a terminal."""
    return text.translate(_CONTROL)


def size(amount: int) -> str:
    """`1.4 MiB`."""
    value = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"

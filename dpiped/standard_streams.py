"""Standard input, output and error that somebody closed before the start, as by `<&-`.

Their numbers would go to the next files that are opened: what is printed then went into one of them, and libuv ends a
process whose own descriptors have such numbers.
"""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Has those that are closed read and write nothing. Called before anything else is opened."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")

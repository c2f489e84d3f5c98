"""Lines `area,ts,{json}` with short plain heads, read by columns: heads of one length are one table of bytes."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from dpiped.codecs.lines import COMMA, OPEN

_HEAD_BYTES = 40
"""Longer heads are not looked at."""
_STAMP = slice(-14, -1)
"""Where it stands in a head that ends with the comma before the payload."""
_FRONT = b'{"@timestamp":0000000000000,"_area":"'
_FRONT_STAMP = slice(14, 27)
_PLAIN = np.zeros(256, bool)
_PLAIN[list(f"{string.ascii_letters}{string.digits}_-.".encode())] = True
"""Bytes of areas that stand for themselves."""


def plain_body(data: bytes, newlines: Any) -> bytes | None:
    """The body that the lines mean, if all heads are short and without category, and all areas plain; else None.

    Args:
        data: lines, each ending with a newline.
        newlines: their places, shape (n_lines,).
    """
    ends = newlines + 1
    starts = np.concatenate(([0], ends[:-1]))
    is_last_long = ends[-1] - starts[-1] >= _HEAD_BYTES
    octets = np.frombuffer(data if is_last_long else data + bytes(_HEAD_BYTES), np.uint8)
    heads = np.lib.stride_tricks.sliding_window_view(octets, _HEAD_BYTES)[starts]
    lengths = (heads == OPEN).argmax(axis=1)
    fronts = _all_fronts(heads, lengths)
    if fronts is None:
        return None
    payloads = zip((starts + lengths + 1).tolist(), ends.tolist(), strict=True)
    pieces = [b""] * (2 * len(ends))
    pieces[0::2], pieces[1::2] = fronts.tolist(), [data[start:end] for start, end in payloads]
    return b"".join(pieces)


def _all_fronts(heads: Any, lengths: Any) -> Any:
    """The fronts of events, shape (n_lines,); None if a head is not plain."""
    first = int(lengths[0])
    if (lengths == first).all():
        return _fronts(heads[:, :first])
    fronts = np.empty(len(heads), f"S{len(_FRONT) + _HEAD_BYTES}")
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        rows = lengths == length
        some = _fronts(heads[rows, :length])
        if some is None:
            return None
        fronts[rows] = some
    return fronts


def _fronts(heads: Any) -> Any:
    """What events have before the members of their payloads, shape (n,); None if a head is not plain.

    Args:
        heads: shape (n, length), each up to the comma before the payload.
    """
    area_bytes = heads.shape[1] - 15
    if area_bytes < 1 or (heads[:, [area_bytes, -1]] != COMMA).any():
        return None
    stamps, areas = heads[:, _STAMP], heads[:, :area_bytes]
    if (stamps - ord("0") > 9).any() or not _PLAIN[areas].all():
        return None
    model = b'%b%b",' % (_FRONT, bytes(area_bytes))
    fronts = np.empty((len(heads), len(model)), np.uint8)
    fronts[:] = np.frombuffer(model, np.uint8)
    fronts[:, _FRONT_STAMP] = stamps
    fronts[:, len(_FRONT) : len(_FRONT) + area_bytes] = areas
    return fronts.view(f"S{len(model)}").ravel()

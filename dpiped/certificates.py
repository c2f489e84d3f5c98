"""The certificates in a PEM file, and from when until when each is in force.

The standard library tells that of peers only. It stands in a fixed place of the encoding (RFC 5280, section 4.1):

    Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version?, serial, algorithm, issuer, validity SEQUENCE { from, to },
                    subject, key SEQUENCE { algorithm SEQUENCE { identifier, ..
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERAL_TIME = 0x30, 0xA0, 0x17, 0x18


class Certificate(NamedTuple):
    """One certificate. Times are seconds since the epoch."""

    der: bytes
    not_before: float
    not_after: float
    key_kind: bytes
    """Identifier of the key's algorithm."""


def read_certificates(path: str) -> list[Certificate]:
    """All of a file, in its order; at least one.

    Raises:
        OSError: the file cannot be read.
        ValueError: with a text that goes on behind the name of the file.
    """
    blocks = _BLOCK.findall(Path(path).read_text("ascii", "replace"))
    if not blocks:
        raise ValueError("holds no certificate in PEM form")
    return [_parse(block) for block in blocks]


def _parse(block: str) -> Certificate:
    try:
        der = ssl.PEM_cert_to_DER_cert(block)
        fields = _inside(_inside(der)[0][1])
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        validity = _inside(fields[3][1])
        key_kind = _inside(_inside(fields[5][1])[0][1])[0][1]
        return Certificate(der, _time(*validity[0]), _time(*validity[1]), key_kind)
    except (ValueError, IndexError) as exc:
        raise ValueError("holds a certificate that is damaged") from exc


def _inside(data: bytes) -> list[tuple[int, bytes]]:
    """(tag, value) of what stands in a sequence. `data` is the sequence, or its value."""
    if data[0] == _SEQUENCE and _end(data, 0)[1] == len(data):
        data = data[_end(data, 0)[0] :]
    found = []
    at = 0
    while at < len(data):
        start, end = _end(data, at)
        found.append((data[at], data[at:end] if data[at] == _SEQUENCE else data[start:end]))
        at = end
    return found


def _end(data: bytes, at: int) -> tuple[int, int]:
    """Where the value of the element at `at` begins, and where it ends."""
    length = data[at + 1]
    start = at + 2
    if length >= 0x80:
        start += length - 0x80
        length = int.from_bytes(data[at + 2 : start], "big")
    if start + length > len(data):
        raise ValueError("cut off")
    return start, start + length


def _time(tag: int, value: bytes) -> float:
    """Of a UTCTime (years 1950 to 2049) or a GeneralizedTime."""
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERAL_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()

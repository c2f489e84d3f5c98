"""Mutations: known inputs, cut, joined, repeated and with odd bytes in them; the same seed gives the same ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

ODD = (
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\n\n",
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b"NaN",
    b"1e999",
    b"-0",
    b"9" * 40,
    b"\xf0\x9f\x98\x80",
    b"\xc3",
    b" " * 50,
    b"[" * 200,
    b'{"a":' * 120,
    b"../",
    b"%n",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00" * 9,
)
MOST_BYTES = 64 << 10


class Mutator:
    """Makes one input after the other from seeds."""

    def __init__(self, seeds: Sequence[bytes], chance: random.Random) -> None:
        self._seeds = list(seeds)
        self._chance = chance
        self._ways: list[Callable[[bytes], bytes]] = [
            self._flip,
            self._cut,
            self._insert,
            self._repeat,
            self._join,
            self._swap,
        ]

    def next(self) -> bytes:
        data = self._chance.choice(self._seeds)
        for _ in range(self._chance.randrange(6)):
            data = self._chance.choice(self._ways)(data)[:MOST_BYTES]
        return data

    def _place(self, data: bytes) -> int:
        return self._chance.randrange(len(data) + 1)

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._chance.randrange(8)]) + data[at + 1 :]

    def _cut(self, data: bytes) -> bytes:
        first, last = sorted((self._place(data), self._place(data)))
        return data[:first] + data[last:]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._chance.choice(ODD) + data[at:]

    def _repeat(self, data: bytes) -> bytes:
        first, last = sorted((self._place(data), self._place(data)))
        return data[:last] + data[first:last] * self._chance.randrange(1, 20) + data[last:]

    def _join(self, data: bytes) -> bytes:
        return data[: self._place(data)] + self._chance.choice(self._seeds)[self._place(b"") :]

    def _swap(self, data: bytes) -> bytes:
        other = self._chance.choice(self._seeds)
        return data[: self._place(data)] + other[self._place(other) :]

"""Bodies as senders compress them: read whole within the limit, or refused for a reason."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dpiped.compression import DamagedError, TooLargeError, UnknownEncodingError, decompress
from dpiped.gzip import pack, unpack

DATA = b"".join(b'{"n":%d,"text":"some words that repeat"}\n' % n for n in range(2_000))
_stream = zstandard.ZstdCompressor().compressobj()
ENCODED = {
    "gzip": gzip.compress(DATA),
    "several members": gzip.compress(DATA[:5_000]) + gzip.compress(DATA[5_000:]),
    "padded": gzip.compress(DATA) + bytes(512),
    "deflate": zlib.compress(DATA),
    "deflate without header": zlib.compress(DATA, wbits=-15),
    "zstd": zstandard.ZstdCompressor().compress(DATA),
    "zstd of unknown size": _stream.compress(DATA) + _stream.flush(),
}


def encoding_of(kind: str) -> str:
    return next((name for name in ("deflate", "zstd") if kind.startswith(name)), "gzip")


@pytest.mark.parametrize("kind", ENCODED)
def test_what_senders_send(kind: str) -> None:
    assert decompress(encoding_of(kind), ENCODED[kind], len(DATA)) == DATA
    with pytest.raises(TooLargeError):
        decompress(encoding_of(kind), ENCODED[kind], len(DATA) - 1)


@pytest.mark.parametrize("kind", [kind for kind in ENCODED if kind != "padded"])
@given(data=st.data())
def test_what_is_cut_off_is_refused(kind: str, data: st.DataObject) -> None:
    body = ENCODED[kind]
    end = len(gzip.compress(DATA[:5_000])) if kind == "several members" else 0
    cut = data.draw(st.integers(end + 1, len(body) - 1))
    with pytest.raises(DamagedError):
        decompress(encoding_of(kind), body[:cut], len(DATA))


@given(place=st.integers(0, len(ENCODED["gzip"]) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_read_as_right(place: int, bit: int) -> None:
    body = bytearray(ENCODED["gzip"])
    body[place] ^= 1 << bit
    try:
        found = decompress("gzip", bytes(body), len(DATA) + 1)
    except (DamagedError, TooLargeError):
        return
    assert found == DATA  # it was in the part of the head that says nothing of the data


def test_a_bomb_is_left_at_the_limit() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    with pytest.raises(TooLargeError):
        decompress("gzip", bomb, 1 << 20)


def test_what_is_no_encoding() -> None:
    with pytest.raises(UnknownEncodingError):
        decompress("br", b"x", 10)


@given(st.binary(max_size=5_000))
def test_what_we_pack_is_gzip_for_everybody(data: bytes) -> None:
    assert gzip.decompress(pack(data)) == unpack(pack(data)) == data
    assert pack(data) == pack(data)

"""Bodies as they are stored: whole again, and no larger in memory than they say."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from dpiped.pack import decode_body, encode_body

BODY = b"".join(b'{"@timestamp":1700000000000,"n":%d,"text":"%s"}\n' % (n, b"x" * 200) for n in range(1_000))


@given(st.binary(max_size=2_000), st.integers(1, 50))
def test_a_stored_body_is_the_body(piece: bytes, times: int) -> None:
    encoding, stored = encode_body(piece * times)
    assert decode_body(stored, encoding) == piece * times


def test_what_is_kept_takes_what_it_says() -> None:
    """The pool counts these bytes; a library that keeps room for the largest possible result would make that a lie."""
    tracemalloc.start()
    try:
        kept = [encode_body(BODY)[1] for _ in range(20)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * sum(map(len, kept)) + 20_000
    assert len(BODY) > 5 * len(kept[0])

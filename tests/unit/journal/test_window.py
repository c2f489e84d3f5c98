"""The window of recent packs: the newest are whole, older ones keep only what is stored."""

from __future__ import annotations

import pytest

from dpiped.journal import window as window_module
from dpiped.journal.window import Window
from dpiped.pack import CACHE_HOLDER, Head, Pack, PackPool, encode_body
from dpiped.projection import Projection

BODY = b'{"@timestamp":1795311281400,"text":"%b"}\n' % (b"x" * 900)


def pack_at(pool: PackPool, offset: int) -> Pack:
    encoding, stored = encode_body(BODY)
    pack = pool.take(Head(offset=offset, count=1, raw_bytes=len(BODY), encoding=encoding), stored, BODY, CACHE_HOLDER)
    pack.remember(Projection.of([]), [offset])
    return pack


def is_whole(window: Window, offset: int) -> bool:
    """Whether it still has what it was given to remember; otherwise it decodes its body."""
    return window.get(offset).events(Projection.of([])) == [offset]


def test_older_packs_keep_only_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "WHOLE_BYTES", 5_000)
    pool = PackPool(1 << 20)
    window = Window(pool, 0)
    held = pack_at(pool, 0)
    pool.hold(held, "somebody")
    window.add([held])
    window.add([pack_at(pool, offset) for offset in range(1, 20)])
    whole = [offset for offset in range(20) if is_whole(window, offset)]
    assert whole[0] == 0, "what a runner holds stays as it is"
    assert 1 <= len(whole[1:]) <= 4
    assert whole[1:] == list(range(20 - len(whole[1:]), 20))
    assert all(window.get(offset).body == BODY for offset in range(20))
    pool.release(held, "somebody")
    window.trim(20)
    assert (pool.bytes, pool.in_use) == (0, 0)


def test_packs_that_leave_no_longer_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "WHOLE_BYTES", 5_000)
    pool = PackPool(1 << 20)
    window = Window(pool, 0)
    for offset in range(100):
        window.add([pack_at(pool, offset)])
        window.trim(offset)
    assert is_whole(window, 99)
    window.trim(100)
    assert (pool.bytes, pool.in_use, window._whole_bytes) == (0, 0, 0)

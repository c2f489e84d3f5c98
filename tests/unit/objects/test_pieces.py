"""What a batch over very many objects takes: memory that grows with its events, not with the objects."""

from __future__ import annotations

import tracemalloc

from dpiped.batch import Batch
from dpiped.objects.keys import Partitions
from dpiped.testing import view_of

HOUR_MS = 3_600_000
EVENTS = 4_000


def batch(hours: int) -> Batch:
    lines = [b'{"@timestamp":%d,"n":%d,"pad":"%s"}\n' % (n % hours * HOUR_MS, n, b"x" * 200) for n in range(EVENTS)]
    return Batch([view_of(b"".join(lines), ["n"], project="rs", ident="web", host="h1")])


def test_thousands_of_objects_take_little_more_memory_than_one() -> None:
    given = batch(2_000)
    tracemalloc.start()
    try:
        found = Partitions("{ident}/dt=%Y-%m-%d/hour=%H", "event").of(given)
        size = sum(len(piece.body(True)) for one in found for piece in one.pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 2_000
    assert peak < 8 * size


def test_pieces_hold_the_events_of_their_hour_in_order() -> None:
    found = Partitions("hour=%H", "event").of(batch(3))
    assert [one.folder for one in found] == ["hour=00", "hour=01", "hour=02"]
    for hour, one in enumerate(found):
        (piece,) = one.pieces
        assert piece.column("n") == list(range(hour, EVENTS, 3))
        assert piece.column("_host") == ["h1"] * piece.count
        lines = piece.body(True).splitlines()
        assert len(lines) == piece.count == one.count
        assert all(line.endswith(b',"_host":"h1"}') for line in lines)
        assert b"_host" not in piece.body(False)

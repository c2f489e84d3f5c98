"""Times and offsets as operators write them."""

from __future__ import annotations

import pytest

from dpiped.journal.bound import Bound, BoundError, parse_bound, show_ms
from dpiped.pack import Head

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("0", Bound(offset=0)),
        ("1234", Bound(offset=1234)),
        ("-90s", Bound(ms=NOW - 90_000)),
        ("-1.5m", Bound(ms=NOW - 90_000)),
        ("-2h", Bound(ms=NOW - 7_200_000)),
        ("-3d", Bound(ms=NOW - 3 * 86_400_000)),
        ("2023-11-14T22:13:20Z", Bound(ms=NOW)),
        ("2023-11-14T22:13:20", Bound(ms=NOW)),
        ("2023-11-14T23:13:20.5+01:00", Bound(ms=NOW + 500)),
        ("2023-11-14", Bound(ms=1_699_920_000_000)),
    ],
)
def test_what_is_understood(text: str, bound: Bound) -> None:
    assert parse_bound(text, NOW) == bound


@pytest.mark.parametrize("text", ["", "x", "-2", "2h", "-2w", "2023-13-01", "1e5", "١٢"])
def test_everything_else_is_one_line(text: str) -> None:
    with pytest.raises(BoundError, match="expected an offset, a time such as"):
        parse_bound(text, NOW)


def test_a_pack_reaches_it_by_offset_or_by_acceptance() -> None:
    head = Head(offset=7, accepted_ms=NOW)
    assert [Bound(offset=n).reached_by(head) for n in (6, 7, 8)] == [True, True, False]
    assert [Bound(ms=NOW + n).reached_by(head) for n in (-1, 0, 1)] == [True, True, False]


def test_times_are_shown_whatever_they_are() -> None:
    assert show_ms(NOW) == "2023-11-14T22:13:20Z"
    assert show_ms(0) == "-"
    assert show_ms(1 << 62) == str(1 << 62)

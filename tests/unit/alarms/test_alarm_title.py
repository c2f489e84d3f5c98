"""Titles: names are replaced, nothing is evaluated, and what comes from events cannot break a line."""

from __future__ import annotations

import pytest

from dpiped.alarms.title import LONGEST, names_in, render


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{count} on {host}", "5 on web-1"),
        ("{latency.p95} and {gone} {latency.p99}", "0.333333 and - -"),
        ("{{count}} {}", "{count} -"),
        ("{__class__} {count.real} {host!r} {count:>9}", "- - - -"),
        ("{a.b}", "literal"),
        ("{flag} {big} {list}", "true 1000000000000000000000 [1, 2]"),
    ],
)
def test_names_are_replaced_and_nothing_else(template: str, expected: str) -> None:
    values = {
        "count": 5, "host": "web-1", "latency": {"p95": 1 / 3}, "a.b": "literal", "flag": True, "big": 10**21,
        "list": [1, 2],
    }  # fmt: skip
    assert render(template, values) == expected


def test_a_value_cannot_end_the_line_or_fill_the_page() -> None:
    text = render("{m}!", {"m": "a\r\nBcc: x\x00\u2028{count}" + "y" * 500})
    assert text.startswith("a Bcc: x {count}yy") and text.endswith("..!")
    assert len(text) < 150
    assert len(render("{m}" * 50, {"m": "y" * 99})) == LONGEST


def test_names_are_found_and_open_braces_too() -> None:
    assert names_in("{a} {{b}} {c.d}") == ["a", "c.d"]
    for wrong in ("{a", "a}", "{{a}", "{a{b}}"):
        with pytest.raises(ValueError, match="not closed"):
            names_in(wrong)

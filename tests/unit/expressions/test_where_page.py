"""docs/where.md tells the truth: every row of its table, in bulk and one by one."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from dpiped.expressions import compile_where
from dpiped.expressions.lexer import MAX_LENGTH
from dpiped.expressions.parser import MAX_DEPTH
from dpiped.expressions.tree import FUNCTIONS
from dpiped.testing import view_of

PAGE = (Path(__file__).parents[3] / "docs" / "where.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(?:` )?(.+?)(?: `)?` \| `(\{.*\})` \| (yes|no) \|$", PAGE, re.MULTILINE)


def in_bulk(text: str, event: str) -> list[bool]:
    where = compile_where(text)
    return where.mask(view_of((event + "\n").encode() * 2, where.fields))


def test_no_row_is_overlooked() -> None:
    table = PAGE.partition("## Truth table")[2]
    assert len(ROWS) == sum(line.startswith("|") for line in table.splitlines()) - 2 > 90


@pytest.mark.parametrize(("text", "event", "holds"), ROWS)
def test_row(text: str, event: str, holds: str) -> None:
    expected = holds == "yes"
    assert compile_where(text).matches(msgspec.json.decode(event)) is expected
    assert in_bulk(text, event) == [expected, expected]


def test_the_page_names_all_functions_and_limits() -> None:
    assert all(f"`{name}(x" in PAGE for name in FUNCTIONS)
    assert f"{MAX_LENGTH:,} characters" in PAGE
    assert f"at most {MAX_DEPTH} deep" in PAGE

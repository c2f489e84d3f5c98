"""The pages as tests read them: fenced blocks, headings and links.

What the words behind the fence mean:

    toml                a whole config, of the daemon or of the collector: `check` accepts it
    toml NAME.toml      the same, and the page's commands use it under this name
    toml fragment       keys of an [[input]] of type http
    toml wrong ..       a config that `check` refuses
    python NAME.py      a file that the page's commands use; every python block compiles
    conf FILE           the file of etc/ with this name, word for word
    sh                  commands that are run, in the order of the page, in an empty folder
    sh PROGRAM          the same; the page is skipped where the program is absent
    text                behind sh: what it prints, `..` standing for anything
    console             shown and not run: it installs, needs root or runs for long
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "dpiped/README.md", *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```(\w*)[ ]?([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    """What stands behind the language."""
    text: str

    @property
    def file(self) -> str:
        """The name of the file that it is; empty if it is none."""
        return next((word for word in self.words if "." in word), "")

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks, in order."""
    text = page.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[1], tuple(match[2].split()), match[3])
        for match in _FENCE.finditer(text)
    ]


def all_blocks(language: str) -> list[Block]:
    """The blocks of one language, of all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    """Targets of all links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What `#..` of a link to this page may name."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}

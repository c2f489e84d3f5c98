"""What steps share that look a text up and make several fields of what they find: `ip` and `user_agent`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from dpiped.transform.base import Reason, Work
from dpiped.transform.paths import NOTHING
from dpiped.transform.sheet import Sheet

if TYPE_CHECKING:
    from dpiped.view import PackView

REMEMBERED = 50_000
"""Texts whose results are kept."""
LONGEST = 1_024
"""Longer texts are not looked up."""
Found = tuple[Any, ...] | Reason
"""Values of the targets, NOTHING for what is not known; or why there are none."""


class Lookup(Work):
    """Writes one column for each of `targets`; remembers what it has looked up lately."""

    refused: ClassVar[Reason]
    """What is said of a value that is no text, such as an object, or far too long."""
    at_once: ClassVar[int]
    """So many are looked up in a few milliseconds."""

    def __init__(self, name: str, source: str, targets: Sequence[str]) -> None:
        self._name, self._source, self._targets = name, source, targets
        self.known: dict[str, Found] = {}

    def run(self, sheet: Sheet) -> None:
        values = sheet.column(self._source)
        found: list[tuple[Any, ...]] = [(NOTHING,) * len(self._targets)] * sheet.count
        failed: dict[str, list[int]] = {}
        if hidden := sheet.hidden(self._source, values):
            failed[self.refused.text] = hidden
        for at, value in enumerate(values):
            if value is None:
                continue
            one = self._find(value)
            if isinstance(one, Reason):
                failed.setdefault(one.text, []).append(at)
            else:
                found[at] = one
        for target, column in zip(self._targets, zip(*found, strict=True), strict=True):
            if any(value is not NOTHING for value in column):
                sheet.write(target, column, self._name)
        for reason, places in failed.items():
            sheet.fail(self._name, reason, places)

    def warm(self, view: PackView) -> Iterator[None]:
        """Looks up what a pack holds that is not known yet, if no step before this one changes it; yields after some.
        What is dear is so done bit by bit.
        """
        texts = {value for value in view.column(self._source) if type(value) is str}
        for number, text in enumerate(texts - self.known.keys(), 1):
            self._find(text)
            if number % self.at_once == 0:
                yield

    def _find(self, value: Any) -> Found:
        if type(value) is not str or len(value) > LONGEST:
            return self.refused
        found = self.known.get(value)
        if found is None:
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            found = self.known[value] = self.look(value)
        return found

    @abstractmethod
    def look(self, text: str) -> Found:
        """The values of the targets for one text."""

"""A list of steps, ready to run on packs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dpiped.expressions import compile_where
from dpiped.transform.base import Step
from dpiped.transform.lookup import Lookup
from dpiped.transform.money import MoneyWork
from dpiped.transform.paths import NOTHING
from dpiped.transform.sheet import Sheet
from dpiped.view import PackView


class Program:
    """Runs the steps in their order. A `where` of a step sees the events as they were before the first one."""

    def __init__(self, steps: Sequence[Step], mark: str = "") -> None:
        self._mark = mark
        self._parts = [(compile_where(step.where) if step.where else None, step.make()) for step in steps]
        self.columns = {path for step in steps for path in step.columns()}
        """What is to be in the projection."""

    def open(self) -> None:
        """Reads the files that steps name; blocks. Raises TemporaryError."""
        for _, work in self._parts:
            work.open()

    def stale(self) -> bool:
        """Whether one of these files is another one now. Raises TemporaryError."""
        return any(work.stale() for _, work in self._parts)

    def warm(self, view: PackView) -> Iterator[None]:
        """What is dear and can be done before `run`; others may run whenever it yields."""
        for _, work in self._parts:
            if isinstance(work, Lookup):
                yield from work.warm(view)

    def run(self, view: PackView) -> Sheet:
        """The changed events of a pack. A step that could not do its work in an event has left that as it was."""
        sheet = Sheet(view)
        for where, work in self._parts:
            sheet.mask = None if where is None else where.mask(view)
            if sheet.mask is None or any(sheet.mask):
                work.run(sheet)
        sheet.mask = None
        if self._mark and sheet.marks:
            marks: list[Any] = [NOTHING] * sheet.count
            for at, reasons in sheet.marks.items():
                marks[at] = list(dict.fromkeys(reasons))
            sheet.write(self._mark, marks, "mark")
        return sheet

    def status(self) -> dict[str, object]:
        """For `/admin/stat`."""
        unknown = sorted({code for _, work in self._parts if isinstance(work, MoneyWork) for code in work.unknown})
        return {"unknown_currencies": unknown} if unknown else {}

"""Steps about whole fields, whatever their values are: `rename`, `drop`, `keep`, `set`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from dpiped.projection import HOST, SOURCE, TIMESTAMP
from dpiped.transform.base import FieldName, Step, Target, Work
from dpiped.transform.paths import NOTHING, FieldPath
from dpiped.transform.sheet import Sheet

ALWAYS = (TIMESTAMP, HOST, SOURCE)
"""What `keep` never takes out."""
Scalar = str | int | float | bool


class RenameStep(Step):
    """Gives fields other names or places. A name that is taken already stays with whom it is: the event keeps both, and
    is counted as `rename_name_taken`.
    """

    do: Literal["rename"]
    fields: dict[Target, Target] = Field(min_length=1, examples=[{"msg": "message"}])
    """Old path -> new path, in this order."""

    def uses(self) -> Iterable[str]:
        return self.fields

    def writes(self) -> Iterable[str]:
        return self.fields.values()

    def takes(self) -> Iterable[str]:
        return self.fields

    def make(self) -> Work:
        return _Rename(self)


class _Rename(Work):
    def __init__(self, step: RenameStep) -> None:
        self._pairs = [(FieldPath(old), FieldPath(new)) for old, new in step.fields.items()]

    def run(self, sheet: Sheet) -> None:
        rows = sheet.rows()
        for old, new in self._pairs:
            taken, blocked = [], []
            for at in sheet.chosen:
                row = rows[at]
                if old.member(row) is NOTHING:
                    continue
                if new.member(row) is not NOTHING:
                    taken.append(at)
                elif not old.move(row, new):
                    blocked.append(at)
            sheet.fail("rename", "name_taken", taken)
            sheet.fail("rename", "no_place", blocked)
            sheet.touch_all((old.text, new.text))


class DropStep(Step):
    """Takes fields out."""

    do: Literal["drop"]
    fields: tuple[Target, ...] = Field(min_length=1, examples=[["password", "user.phone"]])
    """Their paths; objects go with all that is in them."""

    def uses(self) -> Iterable[str]:
        return self.fields

    def writes(self) -> Iterable[str]:
        return ()

    def takes(self) -> Iterable[str]:
        return self.fields

    def make(self) -> Work:
        return _Drop(self)


class _Drop(Work):
    def __init__(self, step: DropStep) -> None:
        self._paths = [FieldPath(path) for path in step.fields]

    def run(self, sheet: Sheet) -> None:
        rows = sheet.rows()
        for path in self._paths:
            for at in sheet.chosen:
                path.remove(rows[at])
            sheet.touch(path.text)


class KeepStep(Step):
    """Takes all other fields out; `@timestamp`, `_host` and `_source` stay in any case."""

    do: Literal["keep"]
    fields: tuple[FieldName, ...] = Field(min_length=1, examples=[["action", "user.id"]])
    """Paths of those that stay, in their objects."""

    def uses(self) -> Iterable[str]:
        return self.fields

    def writes(self) -> Iterable[str]:
        return ()

    def make(self) -> Work:
        return _Keep(self)


class _Keep(Work):
    def __init__(self, step: KeepStep) -> None:
        self._plain = {*ALWAYS, *step.fields}
        self._nested = [FieldPath(path) for path in step.fields if "." in path]

    def run(self, sheet: Sheet) -> None:
        rows = sheet.rows()
        before = set[str]()
        for at in sheet.chosen:
            row = rows[at]
            before.update(row)
            kept = {name: member for name, member in row.items() if name in self._plain}
            for path in self._nested:
                path.move_nested(row, kept)
            row.clear()
            row.update(kept)
        sheet.touch_all(before)


class SetStep(Step):
    """Writes constants."""

    do: Literal["set"]
    values: dict[Target, Scalar] = Field(min_length=1, examples=[{"env": "prod"}])
    """Path -> value."""
    replace: bool = True
    """False: events that have the field keep theirs."""

    def reads(self) -> Iterable[str]:
        return () if self.replace else self.values

    def writes(self) -> Iterable[str]:
        return self.values

    def make(self) -> Work:
        return _Set(self)


class _Set(Work):
    def __init__(self, step: SetStep) -> None:
        self._values = step.values
        self._replace = step.replace

    def run(self, sheet: Sheet) -> None:
        for path, value in self._values.items():
            written: list[Any] = [value] * sheet.count
            if not self._replace:
                there = sheet.column(path)
                for at in (*sheet.hidden(path, there), *(at for at, old in enumerate(there) if old is not None)):
                    written[at] = NOTHING
            sheet.write(path, written, "set")

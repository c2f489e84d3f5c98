"""What a step of `transform` is: a small model that says what it reads, and work that is made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from dpiped.config.base import ConfigModel
from dpiped.expressions import check_where, compile_where
from dpiped.projection import TIMESTAMP
from dpiped.transform.paths import NOTHING

if TYPE_CHECKING:
    from dpiped.transform.sheet import Sheet


def _check_path(path: str) -> str:
    if not all(path.split(".")):
        raise ValueError("expected the path of a field, such as user.name")
    return path


def _check_target(path: str) -> str:
    if _check_path(path) == TIMESTAMP:
        raise ValueError(f"{TIMESTAMP} stays as it is: the `time` of an input sets it")
    return path


FieldName = Annotated[str, Field(min_length=1), AfterValidator(_check_path)]
"""Path of a field that is read."""
Target = Annotated[str, Field(min_length=1), AfterValidator(_check_target)]
"""Path of a field that may be changed."""


class Work(ABC):
    """One step at work, in one filter. What it remembers is only what it could compute again."""

    @abstractmethod
    def run(self, sheet: Sheet) -> None:
        """Changes the events of a pack. Never raises for an event: what cannot be done is left, and counted."""

    def open(self) -> None:  # noqa: B027 - most have no files
        """Reads the files that the config names; in a thread. Raises TemporaryError."""

    def stale(self) -> bool:
        """Whether these files are others now than when they were read; may look at the disk, quickly."""
        return False


class Step(ConfigModel, ABC):
    """Base of the options of one step; `do` says which it is."""

    where: Annotated[str, AfterValidator(check_where)] | None = None
    """Only for these events, as an expression over what they were before the first step."""

    def reads(self) -> Iterable[str]:
        """The fields whose columns it uses; none if it works on the events themselves."""
        return ()

    def uses(self) -> Iterable[str]:
        """The fields that have to be there for it to have anything to do."""
        return self.reads()

    @abstractmethod
    def writes(self) -> Iterable[str]:
        """The fields that it makes or changes."""

    def takes(self) -> Iterable[str]:
        """The fields that it takes out of all events, if it has no `where`."""
        return ()

    @abstractmethod
    def make(self) -> Work:
        """The step, ready to work."""

    def columns(self) -> set[str]:
        """All that is to be in the projection."""
        return {*self.reads(), *(compile_where(self.where).fields if self.where else ())}


class OneField(Step):
    """Base of the steps that make new fields of one."""

    field: FieldName
    """The field that is read; it stays."""

    def reads(self) -> Iterable[str]:
        return (self.field,)


class Mapped(Work):
    """Base of work that makes one value of each value of a field."""

    refused: ClassVar[Reason]
    """What is said of values of a wrong kind, such as objects, which no column shows."""

    def __init__(self, name: str, source: str, target: str) -> None:
        self._name, self._source, self._target = name, source, target

    def run(self, sheet: Sheet) -> None:
        values = sheet.column(self._source)
        found = self.map(values)
        failed: dict[str, list[int]] = {}
        if hidden := sheet.hidden(self._source, values):
            failed[self.refused.text] = hidden
        if _has_reasons(found):
            for at, value in enumerate(found):
                if isinstance(value, Reason):
                    failed.setdefault(value.text, []).append(at)
            found = [NOTHING if isinstance(value, Reason) else value for value in found]
        for reason, places in failed.items():
            sheet.fail(self._name, reason, places)
        if any(value is not NOTHING for value in found):
            sheet.write(self._target, found, self._name)

    @abstractmethod
    def map(self, values: Sequence[Any]) -> Sequence[Any]:
        """The value for each, NOTHING where there is none to make, a Reason where it could not be made."""


class Reason:
    """Why no value could be made; counted as `STEP_TEXT`."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _has_reasons(values: Sequence[Any]) -> bool:
    return Reason in set(map(type, values))

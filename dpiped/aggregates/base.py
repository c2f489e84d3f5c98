"""What an aggregate is: a monoid with a stated error bound. Windows, restarts and chained daemons need nothing more.

All are deterministic: the same values in the same order give the same result however they are cut into updates, and
`dumps` changes nothing. So it does not matter when values that were gathered are handed over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, Field

from dpiped.config.base import ConfigModel
from dpiped.expressions import check_where, compile_where

Where = Annotated[str, AfterValidator(check_where)]
FieldName = Annotated[str, Field(min_length=1)]
Brief = Callable[[Sequence[Any], float], tuple[Any, float]]
"""(values, seconds of the window) -> (answer, its error)."""


class Column(NamedTuple):
    """What a metric reads of each event: made once for a whole pack (`columns.py`), and shared by equal metrics."""

    kind: str
    field: str = ""
    where: str | None = None
    more: Any = None
    """What else the kind wants to know; hashable."""


class Aggregate(ABC):
    """One running answer."""

    __slots__ = ()

    @abstractmethod
    def update(self, values: Sequence[Any]) -> None:
        """Takes the values of so many events, as the column of its metric makes them; None = nothing in this event."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Takes in what another one has seen; the order of merges does not matter within the error bound."""

    @abstractmethod
    def dumps(self) -> Any:
        """Plain data (numbers, texts, lists, bytes) from which `loads` makes the same aggregate."""

    @abstractmethod
    def loads(self, data: Any) -> None:
        """The inverse of `dumps`; called once, on a new one. What is kept is stored with `VERSION` of the panes."""

    @abstractmethod
    def result(self, secs: float = 1.0) -> Any:
        """The answer, ready for an event; None = there is none. `secs`: length of the window, which only rates need."""

    @property
    def error(self) -> float:
        """How far the answer may be from the true one, as its metric says; 0 = exact."""
        return 0.0


class Metric(ConfigModel, ABC):
    """Base of the options of one op: what is computed of a field, and how it is read."""

    where: Where | None = None
    """Only these events count, as an expression: `status >= 500`."""

    @abstractmethod
    def column(self) -> Column | None:
        """What `update` of its aggregate gets; None: anything of the right length."""

    @abstractmethod
    def new(self) -> Aggregate:
        """An aggregate that has seen nothing."""

    def brief(self) -> Brief:
        """What an aggregate answers that has seen a few values and nothing else: as `update` and `result` would say,
        without the cost of making one where an op knows a shorter way. Asked for once, called for each small group.
        """

        def brief(values: Sequence[Any], secs: float) -> tuple[Any, float]:
            one = self.new()
            one.update(values)
            return one.result(secs), one.error

        return brief

    def shape(self) -> str:
        """Names the options that shape what is stored; those that only choose from it are left out."""
        return f"{getattr(self, 'op', '')}:{self.column()}"

    def fields(self) -> Iterable[str]:
        """All fields of events that are read for it."""
        column = self.column()
        names = {column.field} if column and column.field else set()
        return names | (compile_where(self.where).fields if self.where else set())


class FieldMetric(Metric):
    """Base of the ops that read the values of a field."""

    field: FieldName
    """Whose values are read; `_host`, `_source`, `_ident` and `_project` too."""


def present(values: Sequence[Any]) -> Sequence[Any]:
    """Without None."""
    return [value for value in values if value is not None] if None in values else values

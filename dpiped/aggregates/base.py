"""What an aggregate is: a monoid with a stated error bound. Windows, restarts and chained daemons need nothing more.

All are deterministic: the same values in the same order give the same result, and `dumps` changes nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self


class Aggregate(ABC):
    """One running answer."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Takes in what another one has seen; the order of merges does not matter within the error bound."""

    @abstractmethod
    def dumps(self) -> Any:
        """Plain data (numbers, texts, lists, bytes) from which `loads` makes the same aggregate."""

    @classmethod
    @abstractmethod
    def loads(cls, data: Any) -> Self:
        """The inverse of `dumps`."""

    @abstractmethod
    def result(self) -> Any:
        """The answer, ready for an event."""

    @property
    def error(self) -> float:
        """Relative error of the answer, one sigma; 0 = exact."""
        return 0.0

"""Aggregate `count`: how many events. Exact."""

from __future__ import annotations

from typing import Any, Self

from dpiped.aggregates.base import Aggregate


class Count(Aggregate):
    __slots__ = ("value",)

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def update_rows(self, rows: int) -> None:
        """So many more events; their values do not matter."""
        self.value += rows

    def merge(self, other: Self) -> None:
        self.value += other.value

    def dumps(self) -> Any:
        return self.value

    @classmethod
    def loads(cls, data: Any) -> Self:
        return cls(int(data))

    def result(self) -> int:
        return self.value

"""Steps that put a text into a new field: `range` labels of numbers, `normalise` of messages."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, model_validator

from dpiped.aggregates.buckets import bound_texts
from dpiped.normalise import Normaliser, NormaliseRule
from dpiped.transform.base import Mapped, OneField, Reason, Target, Work
from dpiped.transform.paths import NOTHING

_OUTSIDE, _NO_NUMBER, _NO_TEXT = Reason("outside"), Reason("not_a_number"), Reason("not_a_text")


class RangeStep(OneField):
    """A number becomes the label `lo-hi` of its range, `lo` included and `hi` not. One below the first bound, or from
    the last one on, gets no label and is counted as `range_outside`; what is no number as `range_not_a_number`.
    """

    do: Literal["range"]
    bounds: tuple[float, ...] = Field(min_length=2, max_length=1_000, examples=[[0, 10, 100]])
    """Ascending."""
    into: Target | Literal[""] = Field(default="", examples=["level_rg"])
    """Where the label goes; by default the field's path and `_rg`."""

    @model_validator(mode="after")
    def _check(self) -> RangeStep:
        if any(not low < high for low, high in pairwise(self.bounds)):
            raise ValueError("bounds: expected ascending numbers")
        return self

    def writes(self) -> Iterable[str]:
        return (self.into or f"{self.field}_rg",)

    def make(self) -> Work:
        return _Range(self)


class _Range(Mapped):
    refused = _NO_NUMBER

    def __init__(self, step: RangeStep) -> None:
        super().__init__("range", step.field, *step.writes())
        self._bounds = step.bounds
        texts = bound_texts(step.bounds)
        self._labels: list[Any] = [_OUTSIDE, *(f"{low}-{high}" for low, high in pairwise(texts)), _OUTSIDE]

    def map(self, values: Sequence[Any]) -> Sequence[Any]:
        bounds, labels = self._bounds, self._labels
        kinds = {type(value) for value in values}
        if kinds <= {int, float}:
            return [labels[bisect_right(bounds, value)] for value in values]
        return [self._one(value) for value in values]

    def _one(self, value: Any) -> Any:
        if value is None:
            return NOTHING
        return self._labels[bisect_right(self._bounds, value)] if type(value) in (int, float) else _NO_NUMBER


class NormaliseStep(OneField):
    """Texts without what differs from one happening to the next: `user 4711 failed` becomes `user ? failed`. So equal
    messages can be counted together. What is no text is counted as `normalise_not_a_text`.
    """

    do: Literal["normalise"]
    rules: tuple[NormaliseRule, ...] = Field(
        default=("quoted", "email", "uuid", "hex", "digits"), min_length=1, examples=[["digits"]]
    )
    """What is taken out: "quoted", "email", "uuid", "hex", "digits", or `{ pattern = "batch=[a-z]+", replace = "?" }`
    of your own, which go first.
    """
    into: Target | Literal[""] = Field(default="", examples=["message_norm"])
    """Where the text goes; by default the field's path and `_norm`."""

    def writes(self) -> Iterable[str]:
        return (self.into or f"{self.field}_norm",)

    def make(self) -> Work:
        return _Normalise(self)


class _Normalise(Mapped):
    refused = _NO_TEXT

    def __init__(self, step: NormaliseStep) -> None:
        super().__init__("normalise", step.field, *step.writes())
        self._texts = Normaliser(step.rules).texts

    def map(self, values: Sequence[Any]) -> Sequence[Any]:
        found = self._texts(list(values))
        if set(map(type, found)) == {str}:
            return found
        return [text if type(text) is str else NOTHING if text is None else _NO_TEXT for text in found]

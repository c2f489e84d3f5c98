"""All steps, as one kind of table for configs: `do` says which. And what is wrong with a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, get_args

from pydantic import Field

from dpiped.transform.base import Step
from dpiped.transform.convert import ConvertStep
from dpiped.transform.fields import ALWAYS, DropStep, KeepStep, RenameStep, SetStep
from dpiped.transform.hide import HashStep, MaskStep
from dpiped.transform.money import MoneyStep
from dpiped.transform.places import IpStep
from dpiped.transform.texts import NormaliseStep, RangeStep
from dpiped.transform.user_agent import UserAgentStep

_Step = (
    ConvertStep
    | RenameStep
    | DropStep
    | KeepStep
    | SetStep
    | MoneyStep
    | IpStep
    | RangeStep
    | NormaliseStep
    | HashStep
    | MaskStep
    | UserAgentStep
)
AnyStep = Annotated[_Step, Field(discriminator="do")]
"""`{ do = "drop", fields = ["password"] }`."""
STEPS: dict[str, type[Step]] = {get_args(model.model_fields["do"].annotation)[0]: model for model in get_args(_Step)}
"""Its name -> its options, in the order of the documentation."""


def mistakes(steps: Sequence[Step]) -> Iterator[str]:
    """What no step shows alone: it works on a field that is gone by then, or a field is written twice."""
    gone: dict[str, str] = {}
    """Path -> what took it out."""
    kept: tuple[str, ...] | None = None
    for number, step in enumerate(steps):
        name = f"steps[{number}] ({getattr(step, 'do', '')})"
        for path in sorted(set(step.uses())):
            if taker := _taker(path, gone):
                yield f'{name}: "{path}" is not there any more, {taker} took it out'
            elif kept is not None and not _is_kept(path, kept):
                yield f'{name}: "{path}" is not there any more, a step before it keeps only {", ".join(kept)}'
        takes = [] if step.where else [*step.takes()]
        gone.update((path, name) for path in takes)
        for path in step.writes():
            gone.pop(path, None)
        if isinstance(step, KeepStep) and not step.where:
            kept = step.fields
        elif kept is not None:
            kept = (*kept, *step.writes())


def _taker(path: str, gone: dict[str, str]) -> str:
    return next((taker for other, taker in gone.items() if path == other or path.startswith(f"{other}.")), "")


def _is_kept(path: str, kept: Iterable[str]) -> bool:
    return any(
        path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.") for other in (*ALWAYS, *kept)
    )

"""Filter `transform`: changes events by a list of steps: types, names, money, places, ranges, personal data.

Delivery: exactly once. No event is lost: where a step cannot do its work it leaves the event as it is, and that is
counted as `STEP_REASON` in the metric `dpipe_noted_events_total`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from dpiped.api import (
    PAUSE,
    AnyStep,
    Filter,
    Ident,
    PackDraft,
    PackView,
    PluginConfig,
    Program,
    Target,
    is_ident,
    mistakes,
    register,
)

EVENTS_AT_ONCE = 1_000
"""About 5 ms of work for half a dozen steps."""


class TransformConfig(PluginConfig):
    steps: tuple[AnyStep, ...] = Field(
        min_length=1, max_length=1_000, examples=[[{"do": "drop", "fields": ["password"]}]]
    )
    """Done in this order; `do` is one of convert, rename, drop, keep, set, money, ip, range, normalise, hash, mask,
    user_agent. The keys of each stand in docs/transform.md.
    """
    prefix: Ident | Literal[""] = Field(default="", examples=["clean"])
    """Emit each pack under its own ident with this in front, such as `clean.rs.web`, instead of the filter's ident."""
    mark: Target | Literal[""] = Field(default="", examples=["_failed"])
    """A field for the list of what could not be done in an event, such as `["money_unknown_currency"]`."""


@register("transform")
class TransformFilter(Filter[TransformConfig]):
    def __init__(self, config: TransformConfig, context: Any) -> None:
        super().__init__(config, context)
        self._program = Program(config.steps, config.mark)

    @classmethod
    def check(cls, config: TransformConfig) -> list[str]:
        problems = list(mistakes(config.steps))
        if config.prefix.partition(".")[0] == "_dpipe":
            problems.append("prefix: idents that begin with _dpipe are the daemon's own")
        return problems

    @classmethod
    def idents(cls, config: TransformConfig) -> Iterable[str]:
        return (f"{config.prefix}.**",) if config.prefix else ()

    def fields(self) -> Iterable[str]:
        return self._program.columns

    async def open(self) -> None:
        await asyncio.to_thread(self._program.open)

    def renew(self) -> bool:
        return not self._program.stale()

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        ident = self._ident(pack.head.ident)
        for _ in self._program.warm(pack):
            yield PAUSE
        bodies = []
        for part in pack.slices(EVENTS_AT_ONCE):
            sheet = self._program.run(part)
            self._count(sheet.failures)
            bodies.append(sheet.body())
            yield PAUSE
        yield PackDraft(b"".join(bodies), pack.count, *pack.span, ident=ident)

    def _ident(self, ident: str) -> str:
        """Empty: that of the filter."""
        if not self.config.prefix:
            return ""
        longer = f"{self.config.prefix}.{ident}"
        if is_ident(longer):
            return longer
        self._count({"ident_too_long": 1})
        return ""

    def _count(self, failures: dict[str, int]) -> None:
        for what, amount in failures.items():
            self.context.telemetry.metrics.noted.labels(self.context.name, what).inc(amount)

    def status(self) -> dict[str, object]:
        return self._program.status()

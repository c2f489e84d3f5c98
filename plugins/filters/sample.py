"""Filter `sample`: keeps a part of the events; events with the same key are kept or dropped together.

Delivery: exactly once. Which events are kept follows from their keys alone, or from the whole events where no key is
named: never by chance, the same on every machine and in a replay. Those that are left out are counted as `sampled` in
`dpipe_dropped_events_total`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress
from typing import Annotated, Any
from zlib import crc32

import numpy as np
from pydantic import AfterValidator, Field

from dpiped.api import (
    Filter,
    KeyFields,
    PackDraft,
    PackView,
    PluginConfig,
    Sheet,
    check_where,
    compile_where,
    keys_of,
    register,
)

RATE = "_sample_rate"
MOST = 1e12
"""A rate in an event that is higher is not believed."""
_WORD = (1 << 64) - 1


class SampleConfig(PluginConfig):
    rate: Annotated[float, Field(gt=0, le=1e12)] = Field(examples=[10])
    """10 keeps about one event in ten; below 1 it is the share that is kept, so 0.1 does the same."""
    by: KeyFields = ()
    """The key: events with equal values in these fields are kept or dropped together, such as all of a user. An event
    without any of them is judged for itself; by default all are.
    """
    always: Annotated[str, AfterValidator(check_where)] | None = Field(default=None, examples=["level == 'error'"])
    """Events that are kept in any case, as an expression."""
    add_rate: bool = False
    """Write into each event, as `_sample_rate`, how many it stands for: 1 for those that `always` keeps. A rate that is
    there is multiplied.
    """
    seed: Annotated[int, Field(ge=0, le=_WORD)] = 0
    """Another seed, another choice: give one to a second `sample` that reads what a first one kept."""


@register("sample")
class SampleFilter(Filter[SampleConfig]):
    def __init__(self, config: SampleConfig, context: Any) -> None:
        super().__init__(config, context)
        share = 1 / config.rate if config.rate >= 1 else config.rate
        self._limit = min(int(share * 2**64), _WORD)
        self._stands_for = int(config.rate) if config.rate >= 1 and config.rate.is_integer() else 1 / share
        self._always = compile_where(config.always) if config.always else None

    def fields(self) -> Iterable[str]:
        always = self._always.fields if self._always else ()
        return {*self.config.by, *always, *((RATE,) if self.config.add_rate else ())}

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        always = self._always.mask(pack) if self._always else [False] * pack.count
        chosen = [by_key or in_any_case for by_key, in_any_case in zip(self._by_key(pack), always, strict=True)]
        kept = pack.only(chosen)
        if kept.count < pack.count:
            dropped = self.context.telemetry.metrics.dropped  # as the operator wants it: nothing for the log
            dropped.labels(self.context.name, "sampled").inc(pack.count - kept.count)
        if kept.count:
            body = self._with_rate(kept, list(compress(always, chosen))) if self.config.add_rate else kept.body
            yield PackDraft(body, kept.count, *kept.span)

    def _by_key(self, pack: PackView) -> list[bool]:
        """Whether the key of each event is among those that are kept."""
        keys = keys_of(pack, self.config.by)
        if None in keys:
            keys = [line if key is None else key for key, line in zip(keys, pack.body.splitlines(), strict=True)]
        sums = np.fromiter(map(crc32, keys), np.uint64, len(keys))  # type: ignore[arg-type]
        kept: list[bool] = (_spread(sums, self.config.seed) <= np.uint64(self._limit)).tolist()
        return kept

    def _with_rate(self, kept: PackView, always: list[bool]) -> bytes:
        known: list[Any] = kept.column(RATE)
        before = [rate if type(rate) in (int, float) and 1 <= rate <= MOST else 1 for rate in known]
        rates = [
            rate * (1 if in_any_case else self._stands_for) for rate, in_any_case in zip(before, always, strict=True)
        ]
        sheet = Sheet(kept)
        sheet.write(RATE, rates, "sample")
        return sheet.body()


def _spread(sums: Any, seed: int) -> Any:
    """Checksums as numbers that fill 64 bits evenly, however alike they are. Source: splitmix64, Steele 2014."""
    with np.errstate(over="ignore"):
        words = sums + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & _WORD)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return words ^ (words >> np.uint64(31))

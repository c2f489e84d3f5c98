"""Filter `relabel`: gives events another ident or project, adds and drops fields, by rules.

Delivery: exactly once. Each event follows the first rule whose `where` it satisfies.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, Field

from dpiped.api import (
    ConfigModel,
    EventsDropped,
    Filter,
    Ident,
    Name,
    PackDraft,
    PackView,
    PluginConfig,
    Predicate,
    check_where,
    compile_where,
    register,
)

Scalar = str | int | float | bool
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Rule(ConfigModel):
    where: Annotated[str, AfterValidator(check_where)] | None = None
    """Which events; by default all that no rule before it took."""
    ident: Ident | None = None
    """Their new ident; by default the filter's."""
    project: Name | None = None
    """Their new project; by default they keep it."""
    add: dict[str, Scalar] = Field(default_factory=dict)
    """Fields to set; a field that is there already is replaced."""
    drop: tuple[str, ...] = ()
    """Top-level fields to leave out; `@timestamp` stays."""


class RelabelConfig(PluginConfig):
    rules: tuple[Rule, ...] = Field(default=(Rule(),), min_length=1)
    """Tried in order."""
    unmatched: Literal["drop", "pass"] = "drop"
    """Events that no rule takes are dropped and counted, or passed on under the filter's ident."""


@register("relabel")
class RelabelFilter(Filter[RelabelConfig]):
    def __init__(self, config: RelabelConfig, context: Any) -> None:
        super().__init__(config, context)
        self._rules: list[tuple[Rule, Predicate | None]] = [
            (rule, compile_where(rule.where) if rule.where else None) for rule in config.rules
        ]
        if config.unmatched == "pass":
            self._rules.append((Rule(), None))

    @classmethod
    def emitted(cls, config: RelabelConfig, ident: str) -> Iterable[str]:
        rules = (*config.rules, Rule()) if config.unmatched == "pass" else config.rules
        for rule in rules:
            yield f"{rule.project}:{rule.ident or ident}" if rule.project else rule.ident or ident

    def fields(self) -> Iterable[str]:
        return {field for _, where in self._rules if where is not None for field in where.fields}

    def process(self, pack: PackView) -> Iterable[PackDraft]:
        left = [True] * pack.count
        for rule, where in self._rules:
            taken = left if where is None else [a and b for a, b in zip(left, where.mask(pack), strict=True)]
            if any(taken):
                yield self._draft(pack, taken, rule)
                left = [a and not b for a, b in zip(left, taken, strict=True)]
            if not any(left):
                return
        self.context.telemetry.emit(EventsDropped(plugin=self.context.name, amount=sum(left), reason="no_rule"))

    def _draft(self, pack: PackView, taken: list[bool], rule: Rule) -> PackDraft:
        head, body, count = pack.head, pack.body, sum(taken)
        oldest, newest = head.min_ts, head.max_ts
        if count < pack.count or not pack.whole:
            body = b"".join(compress(body.splitlines(keepends=True), taken))
            stamps = [at for at in compress(pack.column("@timestamp"), taken) if isinstance(at, int)]
            oldest, newest = min(stamps), max(stamps)
        if rule.add or rule.drop:
            body = b"".join(_change(line, rule) for line in body.splitlines())
        return PackDraft(body, count, oldest, newest, ident=rule.ident or "", project=rule.project)


def _change(line: bytes, rule: Rule) -> bytes:
    """All other values keep their bytes."""
    event: dict[str, Any] = _decode(line)
    for name in rule.drop:
        if name != "@timestamp":
            event.pop(name, None)
    return _encode({**event, **{name: value for name, value in rule.add.items() if name != "@timestamp"}}) + b"\n"

"""Codec `regex`: lines taken apart by the named groups of a pattern.

A group `status_int` (also `_float`, `_bool`) becomes the typed field `status`; a value that does not fit its type
is left out and counted. The pattern has to match the whole line. google-re2 runs every pattern in linear time, so
no config can hang an input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dpiped.codecs.base import Codec, DecodeContext, Decoded, Rejected
from dpiped.codecs.config import FieldKind, RegexCodecConfig
from dpiped.codecs.lines import cut_lines, read_text
from dpiped.codecs.presets import PRESETS
from dpiped.codecs.times import TimeReader, TimeSpec
from dpiped.codecs.values import part_of, typed
from dpiped.errors import CodecError
from dpiped.expressions.patterns import compiled
from dpiped.projection import TIMESTAMP

_SUFFIXES: dict[str, FieldKind] = {"_int": "int", "_float": "float", "_bool": "bool"}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A pattern and what its groups mean."""

    fullmatch: Callable[[bytes], Any]
    names: list[str]
    kinds: list[FieldKind]
    time_field: str | None
    readers: list[TimeReader]


def compile_config(config: RegexCodecConfig) -> Compiled:
    """Raises ValueError with a text for the user where the config cannot work."""
    if (config.pattern is None) == (config.preset is None):
        raise ValueError("expected either pattern or preset")
    text, types, time_field, formats = config.pattern or "", {}, config.time_field, config.time_formats
    if config.preset is not None:
        preset = PRESETS.get(config.preset)
        if preset is None:
            raise ValueError(f"preset: expected one of {', '.join(sorted(PRESETS))}")
        text, types = preset.pattern, dict(preset.types)
        time_field = time_field or preset.time_field
        formats = formats or list(preset.time_formats)
    pattern = _compile(text)
    groups = [name.decode() for name in sorted(pattern.groupindex, key=pattern.groupindex.get)]
    if not groups:
        raise ValueError("pattern: expected named groups such as (?P<level>[A-Z]+)")
    if len(groups) != pattern.groups:
        raise ValueError("pattern: every group needs a name; write (?:..) for one that is no field")
    types |= config.types
    unknown = sorted(set(types) - set(groups))
    if unknown:
        raise ValueError(f"types: the pattern has no group {unknown[0]!r}")
    named = [_field(group, types) for group in groups]
    names, kinds = [name for name, _ in named], [kind for _, kind in named]
    if len(set(names)) < len(names):
        raise ValueError("pattern: two groups name the same field")
    if time_field is not None and time_field not in names:
        raise ValueError(f"time_field: the pattern has no group {time_field!r}")
    readers = [TimeReader(TimeSpec(time_field or "", each, config.zone)) for each in formats or ["rfc3339"]]
    return Compiled(pattern.fullmatch, names, kinds, time_field, readers)


def _compile(text: str) -> Any:
    try:
        return compiled(text)
    except ValueError as exc:
        raise ValueError(f"pattern: {exc}{_where(text)}") from exc


def _where(text: str) -> str:
    """Where the pattern goes wrong: behind its longest beginning that is right."""
    for end in range(len(text) - 1, 0, -1):
        start = text[:end]
        try:
            compiled(start + ")" * (start.count("(") - start.count(")")))
        except ValueError:
            continue
        return f" (after character {end}: {text[max(0, end - 20) : end]!r})"
    return " (at its start)"


def _field(group: str, types: dict[str, FieldKind]) -> tuple[str, FieldKind]:
    if group in types:
        return group, types[group]
    for suffix, kind in _SUFFIXES.items():
        if group.endswith(suffix) and group != suffix:
            return group.removesuffix(suffix), kind
    return group, "str"


class RegexCodec(Codec):
    """Stateless but for what it remembers of times."""

    def __init__(self, config: RegexCodecConfig) -> None:
        self._rejects = config.on_mismatch == "reject"
        self._compiled = compile_config(config)

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        text, invalid = read_text(data)
        answer = Decoded(counts=Counter({"invalid_utf8": invalid} if invalid else {}))
        events: list[dict[str, Any]] = []
        hosts: list[str] = []
        for number, line in enumerate(text.split("\n"), 1):
            line = line.removesuffix("\r")
            if not line:
                continue
            values = self._groups(line)
            if values is None and self._rejects:
                answer.rejected.append(Rejected(number, "does not match the pattern", line.encode()))
                continue
            if values is None:
                answer.counts["unmatched"] += 1
                events.append({TIMESTAMP: context.accepted_ms, "message": line})
            else:
                events.append(self._event(values, context, answer.counts))
            if context.hosts is not None:
                hosts.append(context.hosts[number - 1])
        if events:
            timed = self._compiled.time_field is not None
            answer.parts.append(part_of(events, self._compiled.names, hosts or None, context, answer.counts, timed))
        return answer

    def encode(self, body: bytes) -> bytes:
        """Raises CodecError: a pattern tells how to read, not how to write."""
        raise CodecError("codec regex cannot write: use json, raw, csv, als or syslog")

    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        return cut_lines(data, most_bytes)

    def _groups(self, line: str) -> Sequence[str | None] | None:
        """What the groups hold, None where one took no part; None if the line does not match.

        The groups are cut out here, since RE2's `groups` asks how many there are again and again.
        """
        data = line.encode()
        match = self._compiled.fullmatch(data)
        if match is None:
            return None
        spans = match._spans[1:]
        if len(data) == len(line):
            return [line[start:end] if start >= 0 else None for start, end in spans]
        return [data[start:end].decode() if start >= 0 else None for start, end in spans]

    def _event(self, values: Sequence[str | None], context: DecodeContext, counts: Counter[str]) -> dict[str, Any]:
        compiled = self._compiled
        event = typed(compiled.names, compiled.kinds, values, counts)
        if compiled.time_field is not None:
            value = event.get(compiled.time_field)
            for reader in compiled.readers if value is not None else ():
                ms = reader.read(value, context.accepted_ms)
                if ms is not None:
                    event.pop(compiled.time_field)
                    return {TIMESTAMP: ms, **event}
            counts["time_missing" if value is None else "time_invalid"] += 1
            return {TIMESTAMP: context.accepted_ms, **event}
        return event


def build(config: RegexCodecConfig) -> Codec:
    """The codec of this config."""
    return RegexCodec(config)

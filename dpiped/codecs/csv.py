"""Codec `csv`: each row is an event, its columns named by the config or by the first row of the data.

With `columns` a row that repeats them is a header and skipped (counted), so files that begin with one can be tailed.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from dpiped.codecs.base import Codec, DecodeContext, Decoded, Rejected
from dpiped.codecs.config import CsvCodecConfig, FieldKind
from dpiped.codecs.lines import cut_lines, read_text
from dpiped.codecs.values import part_of, typed

_LONGEST_FIELD = 1 << 20
"""The module's own limit of 128 KiB rejects what the daemon takes elsewhere."""


class CsvCodec(Codec):
    """Stateless."""

    def __init__(self, config: CsvCodecConfig) -> None:
        self._config = config
        self.reads_pieces = config.columns is not None
        self.quote = config.quote.encode()
        csv.field_size_limit(max(_LONGEST_FIELD, csv.field_size_limit()))

    def decode(self, data: bytes, context: DecodeContext) -> Decoded:
        text, invalid = read_text(data)
        answer = Decoded(counts=Counter({"invalid_utf8": invalid} if invalid else {}))
        names = self._config.columns
        kinds: list[FieldKind] = [self._config.types.get(name, "str") for name in names or ()]
        events: list[dict[str, Any]] = []
        hosts: list[str] = []
        for number, row in self._rows(text, answer):
            if not row:
                continue
            if names is None:
                if "" in row or len(set(row)) < len(row):
                    reason = "the first row has to name the columns, each by another name"
                    answer.rejected.append(Rejected(number, reason, data))
                    return answer
                names = row
                kinds = [self._config.types.get(name, "str") for name in names]
            elif row == self._config.columns:
                answer.counts["header"] += 1
            elif len(row) != len(names):
                reason = f"{len(row)} values, expected {len(names)}"
                answer.rejected.append(Rejected(number, reason, self._write_row(row)))
            else:
                events.append(typed(names, kinds, row, answer.counts))
                hosts += () if context.hosts is None else (context.hosts[min(number, len(context.hosts)) - 1],)
        if events:
            answer.parts.append(part_of(events, names or (), hosts or None, context, answer.counts, timed=False))
        return answer

    def encode(self, body: bytes) -> bytes:
        """Rows of the configured columns, or a header and all fields in the order they turn up; objects as JSON."""
        events: list[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode_lines(body)
        names = self._config.columns or list(dict.fromkeys(name for event in events for name in event))
        rows = [] if self._config.columns else [names]
        rows += [[_to_text(event.get(name)) for name in names] for event in events]
        return b"".join(self._write_row(row) + b"\n" for row in rows)

    def cut(self, data: bytes, most_bytes: int) -> list[bytes]:
        """One piece if the first row names the columns, or if a quoted value might hold a line break."""
        if self._config.columns is None or self.quote in data:
            return [data]
        return cut_lines(data, most_bytes)

    def _rows(self, text: str, answer: Decoded) -> Iterator[tuple[int, list[str]]]:
        """(number of the first line, values) of each row; a row that cannot be read is rejected."""
        source = io.StringIO(text, newline="")
        lines: list[str] = []
        reader = csv.reader(source, delimiter=self._config.delimiter, quotechar=self._config.quote, strict=True)
        while True:
            number = reader.line_num + 1
            try:
                yield number, next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                lines = lines or text.split("\n")  # once, for all of them can be bad
                raw = "\n".join(lines[number - 1 : reader.line_num]).encode()
                answer.rejected.append(Rejected(number, str(exc), raw))

    def _write_row(self, row: list[str]) -> bytes:
        delimiter, quote = self._config.delimiter, self._config.quote
        plain = delimiter.join(row)
        if plain.isalnum() or (plain.count(delimiter) == len(row) - 1 and plain.replace(delimiter, "").isalnum()):
            return plain.encode()  # nothing to quote; a writer for each of many bad rows takes seconds
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, quotechar=quote).writerow(row)  # quotes the characters of its line end
        return out.getvalue().removesuffix("\r\n").encode()


def build(config: CsvCodecConfig) -> Codec:
    """The codec of this config."""
    return CsvCodec(config)


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

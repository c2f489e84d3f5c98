"""Answers as JSON, CSV or a text table, as `format` or `Accept` asks; each with an ETag.

They are written in a thread, and there in pieces of some rows: a call of a C library lets nobody else run.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from dpiped.admin_client import MORE_HEADER
from dpiped.hidden import blot
from dpiped.journal.bound import show_ms
from dpiped.text import table

Form = Literal["json", "csv", "text"]
FORMS: dict[str, Form] = {"application/json": "json", "text/csv": "csv", "text/plain": "text"}
_MEDIA = {form: media for media, form in FORMS.items()}
Row = Mapping[str, Any]
ROWS_AT_ONCE = 100
"""Written by one call: less than a millisecond."""
BREATH_SECS = 1e-6
"""Between two pieces. Without it the event loop would wait until the interpreter takes the turn from this thread, 5 ms;
with 0 the thread would have it back before the event loop awakes.
"""


async def answered(
    request: web.Request, form: Form | UnsetType, data: msgspec.Struct, rows: Sequence[Row]
) -> web.Response:
    """The answer in the form that is asked for: `data` is the JSON one, `rows` are for the others. 304 when the asker
    has it. Where `data` says that there is `more`, a header says so in all forms, and a table in its last line.
    """
    wanted = accepted(request.headers.get("Accept", "")) if form is UNSET else form
    body, tag = await asyncio.to_thread(_written, wanted, data, rows)
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "no-cache"}
    if getattr(data, "more", False):
        headers[MORE_HEADER] = "true"
    if _has(request.headers.get("If-None-Match", ""), tag):
        return web.Response(status=304, headers=headers)
    charset = None if wanted == "json" else "utf-8"
    return web.Response(body=body, content_type=_MEDIA[wanted], charset=charset, headers=headers)


def as_json(data: msgspec.Struct) -> web.Response:
    """A small answer that has no other form."""
    return web.Response(body=msgspec.json.encode(data) + b"\n", content_type="application/json")


def accepted(header: str) -> Form:
    """The form that an `Accept` header likes best; JSON when it names none of ours."""
    best, best_weight = "json", 0.0
    for part in header.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        weights = [value for name, _, value in (one.partition("=") for one in parameters) if name == "q"]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            continue
        if media.lower() in FORMS and weight > best_weight:
            best, best_weight = FORMS[media.lower()], weight
    return best  # type: ignore[return-value]


def _has(header: str, tag: str) -> bool:
    known = [one.strip().removeprefix("W/") for one in header.split(",")]
    return tag in known or "*" in known


def _written(form: Form, data: msgspec.Struct, rows: Sequence[Row]) -> tuple[bytes, str]:
    """(the body, its ETag)."""
    body = bytearray()
    for piece in as_json_pieces(data) if form == "json" else as_csv(rows) if form == "csv" else as_text(rows):
        body += blot(piece).encode()
        time.sleep(BREATH_SECS)
    if form == "text" and getattr(data, "more", False):
        body += b"there are more: a larger limit shows them\n"
    return bytes(body), f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def as_json_pieces(data: msgspec.Struct) -> Iterator[str]:
    """Indented JSON; lists in pieces."""
    before = "{"
    for one in msgspec.structs.fields(data):
        yield f'{before}\n  "{one.encode_name}": '
        value = getattr(data, one.name)
        if isinstance(value, list) and value:
            yield from _list_pieces(value)
        else:
            yield _indented(value)
        before = ","
    yield "\n}\n"


def _list_pieces(values: list[Any]) -> Iterator[str]:
    before = "["
    for at in range(0, len(values), ROWS_AT_ONCE):
        yield before + _indented(values[at : at + ROWS_AT_ONCE]).removeprefix("[").removesuffix("\n  ]")
        before = ","
    yield "\n  ]"


def _indented(value: Any) -> str:
    """JSON of what stands in the outermost object."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode().replace("\n", "\n  ")


def as_csv(rows: Sequence[Row]) -> Iterator[str]:
    """One line a row, in pieces; inner objects have a column for each key, as `latency.p95`, lists are JSON."""
    flat = [_flat(row) for row in rows]
    columns = _columns(flat)
    left = iter([dict(zip(columns, columns, strict=True)), *flat])
    while some := list(islice(left, ROWS_AT_ONCE)):
        written = io.StringIO()
        csv.DictWriter(written, columns, restval="", lineterminator="\r\n").writerows(some)
        yield written.getvalue()


def as_text(rows: Sequence[Row]) -> Iterator[str]:
    """A table for people, in pieces."""
    flat = [_flat(_readable(row)) for row in rows]
    columns = _columns(flat)
    if not columns:
        yield "nothing yet\n"
        return
    lines = iter(table([columns, *([row.get(name, "") for name in columns] for row in flat)]).splitlines(keepends=True))
    while some := "".join(islice(lines, ROWS_AT_ONCE)):
        yield some


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _flat(row: Row, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) or value is None or isinstance(value, bool):
            flat[prefix + name] = "" if value is None else msgspec.json.encode(value).decode()
        else:
            flat[prefix + name] = value
    return flat


def _readable(row: Row) -> dict[str, Any]:
    """Times as people write them, top lists without keys."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name == "@timestamp":
            continue
        if (name.endswith("_ms") or name in ("window_start", "window_end")) and isinstance(value, int):
            value = show_ms(value)
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            value = ", ".join(" ".join(str(part) for part in one.values()) for one in value)
        shown[name] = value
    return shown

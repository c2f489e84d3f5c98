"""What makes events the same: texts of the values of some fields, made for a whole pack at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field

from dpiped.aggregates.plain import whole
from dpiped.view import PackView

_encode_lines = msgspec.json.Encoder().encode_lines


def _check_each_once(fields: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(fields)) < len(fields):
        raise ValueError("expected each field once")
    return fields


KeyFields = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(_check_each_once)]
"""Fields whose values together are the key of an event; `_host`, `_source`, `_ident` and `_project` too."""


def keys_of(view: PackView, fields: Sequence[str]) -> list[bytes | None]:
    """The key of each event, shape (view.count,): its values as JSON, or the whole line where no fields are named. 7
    and 7.0 are one value, as in expressions and groups.

    None: the event has none of the fields, so that nothing makes it the same as another one.
    """
    if not fields:
        return list(view.body.splitlines())
    columns = [whole(*view.typed(path)) for path in fields]
    texts = _encode_lines(columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))).split(b"\n")
    texts.pop()
    nothing = b"null" if len(columns) == 1 else b"[" + b",".join([b"null"] * len(columns)) + b"]"
    return [None if text == nothing else text for text in texts] if nothing in texts else list(texts)

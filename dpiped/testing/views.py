"""Packs without a journal, for tests that call a plugin by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dpiped.expressions import compile_where
from dpiped.pack import Head, Pack
from dpiped.plugin import PAUSE, PackDraft
from dpiped.projection import Projection
from dpiped.view import PackView


class _Stamped(msgspec.Struct):
    at: int | None = msgspec.field(default=None, name="@timestamp")


_decode = msgspec.json.Decoder(_Stamped).decode


def body_of(events: Iterable[Mapping[str, Any]]) -> bytes:
    """The body of a pack."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def view_of(body: bytes, fields: Iterable[str], where: str = "", **head: Any) -> PackView:
    """A pack as a plugin sees it.

    Args:
        body: lines of JSON objects.
        fields: what the plugin reads.
        where: only the events for which it holds.
        head: the rest of its head; counts, sizes and times are those of the body.
    """
    predicate = compile_where(where) if where else None
    lines = body.splitlines()
    stamps = [at for at in (_decode(line).at for line in lines) if at is not None]
    span = {"min_ts": min(stamps), "max_ts": max(stamps)} if stamps else {}
    pack = Pack()
    pack.fill(Head(count=len(lines), raw_bytes=len(body), **{**span, **head}), body, body)
    return PackView(pack, Projection.of({*fields, *(predicate.fields if predicate else ())}), predicate)


def emitted(drafts: Iterable[PackDraft]) -> list[PackDraft]:
    """What a runner would append of what a filter gave."""
    return [draft for draft in drafts if draft is not PAUSE]

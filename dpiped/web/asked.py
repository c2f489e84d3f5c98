"""What queries of the API have in common: times, limits, the form of the answer."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dpiped.journal.bound import BoundError, parse_bound
from dpiped.web.forms import Form
from dpiped.web.refused import Refused

DEFAULT_LIMIT, MOST = 1_000, 10_000
Limit = Annotated[int, Meta(description="At most so many.", ge=1, le=MOST)]
AskedForm = Annotated[Form, Meta(description="Form of the answer; by default as `Accept` says.")] | UnsetType
_MOMENT = [
    {"type": "string", "format": "date-time"},
    {"type": "string", "pattern": r"^-[0-9]{1,6}[smhd]$"},
    {"type": "string", "pattern": "^[0-9]{1,15}$"},
]
Moment = Annotated[
    str,
    Meta(
        description="RFC 3339, milliseconds since the epoch, or how long ago, such as `-2h`.",
        extra_json_schema={"type": None, "anyOf": _MOMENT},
    ),
]


class FormQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How it is written."""

    format: AskedForm = UNSET


def moment(name: str, text: str | UnsetType, now_ms: int) -> int | None:
    """Milliseconds since the epoch. Raises Refused (422)."""
    if text is UNSET:
        return None
    try:
        bound = parse_bound(text, now_ms)
    except (BoundError, OverflowError) as exc:
        expected = "milliseconds since the epoch, a time such as 2026-03-01T12:00:00Z, or how long ago, such as -2h"
        raise Refused(422, f"{name} {text!r}: expected {expected}") from exc
    return bound.offset if bound.ms is None else bound.ms

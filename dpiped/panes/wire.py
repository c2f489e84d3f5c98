"""How panes go from daemon to daemon: an event for each group and pane, an ordinary one for everything on the way.

    {"@timestamp": end, "window_start": start, "window_end": end, <fields of the group>,
     "_pane": base64(msgpack([digest of the shape, [dumps of each metric]]))}

The digest names version, length of panes, fields of groups, and metrics: only equal shapes can be merged.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dpiped.aggregates import Aggregate
from dpiped.panes.shape import Shape

if TYPE_CHECKING:
    from dpiped.view import PackView

_encode = msgspec.msgpack.Encoder().encode


class PaneError(ValueError):
    """Not a pane of this shape."""


class PaneShape(Shape):
    """Of who joins panes: the group of a pane stands in its event, where the head has a field of that name too."""

    def group_column(self, view: PackView, name: str) -> tuple[list[Any], set[type]]:
        return view.own(name)


def encode_pane(event: dict[str, Any], shape: Shape, aggregates: Sequence[Aggregate]) -> bytes:
    """The line of one group; `event` has its other fields."""
    data = _encode((shape.digest, shape.dumps(aggregates)))
    event["_pane"] = binascii.b2a_base64(data, newline=False).decode()
    return msgspec.json.encode(event) + b"\n"


def decode_pane(text: Any, shape: Shape) -> Sequence[Aggregate]:
    """The aggregates of the field `_pane`, tried out: they merge and answer. Raises PaneError."""
    try:
        digest, dumped = msgspec.msgpack.decode(binascii.a2b_base64(text), type=tuple[str, list[Any]])
        aggregates = shape.merge([shape.loads(dumped)]) if digest == shape.digest else None
        if aggregates is not None:
            shape.answers(aggregates, 1.0)
    except Exception as exc:  # it came from outside, and what a sketch raises over foreign bytes is not documented
        raise PaneError("not a pane") from exc
    if aggregates is None:
        raise PaneError("of another shape")
    return aggregates

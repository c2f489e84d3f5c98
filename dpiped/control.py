"""Control packs: what the daemon or an operator tells one runner, journaled, so that a replay does the same.

{"control": "skip", "offset": n}                            `on_error`: the pack at this offset is not processed
{"control": "finish"}                                       batch mode: close what is open
{"control": "reset", "at_ms": n}                            an operator: forget everything
{"control": "ack" | .., "fingerprint": .., "at_ms": n, ..}  an operator: about one alarm
"""

from __future__ import annotations

from typing import Any

import msgspec

from dpiped.journal.append import Draft, Lot
from dpiped.pack import CONTROL_IDENT, Head


def control_lot(runner: str, now_ms: int, said: dict[str, Any]) -> Lot:
    """The pack to be; `said` has `control` and what belongs to it."""
    body = msgspec.json.encode(said) + b"\n"
    return Lot([Draft(Head(ident=CONTROL_IDENT, accepted_ms=now_ms, raw_bytes=len(body), only=runner), body)])

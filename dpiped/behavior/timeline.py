"""Timeline: what one user did."""

from __future__ import annotations

from typing import Any

import numpy as np

from dpiped.behavior.columns import Coded
from dpiped.behavior.rows import Rows, bucket_of
from dpiped.behavior.table import BehaviorTable


def of_user(
    table: BehaviorTable, uid: int | str, from_ms: int | None = None, to_ms: int | None = None, most: int | None = None
) -> list[dict[str, Any]]:
    """`@timestamp`, `action` and dimensions of each action, oldest first. Blocking; raises LevelDbError."""
    with table.view() as view:
        rows = view.bucket(bucket_of(uid), from_ms, to_ms)
    return [_shown(rows, at) for at in _rows_of(rows, uid)[:most].tolist()]


def _rows_of(rows: Rows, uid: int | str) -> Any:
    users = rows.users
    if not isinstance(users, Coded):
        return np.flatnonzero(users == uid)
    return np.flatnonzero(users.codes == users.values.index(str(uid))) if uid in users.values else np.zeros(0, np.int64)


def _shown(rows: Rows, at: int) -> dict[str, Any]:
    dims = {name: column.values[int(column.codes[at])] for name, column in rows.dims.items()}
    return {"@timestamp": int(rows.times[at]), "action": rows.actions.values[int(rows.actions.codes[at])], **dims}

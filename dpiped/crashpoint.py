"""Crash points: named places where a test has the process end as by `kill -9`, so that each order of steps is proved.

    DPIPE_CRASH=journal.synced:3    the process kills itself the third time it comes to that place

Without the variable a point costs one comparison. The points lie between two steps of which a crash could leave one
done and the other not; daemon and collector share them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from types import MappingProxyType

from dpiped.errors import ConfigError

VARIABLE = "DPIPE_CRASH"
POINTS: Mapping[str, str] = MappingProxyType(
    {
        "journal.appending": "before a group is written",
        "journal.torn": "half of a group is written",
        "journal.written": "a group is written, not synced",
        "journal.synced": "a group is synced, nobody has been told",
        "journal.rolled": "a segment file is made, its name not synced",
        "journal.freeing": "before a segment that nobody wants is unlinked",
        "journal.rewriting": "what is wanted of a segment is in a temporary file, not renamed",
        "journal.rewritten": "a rewritten segment has its name, which is not synced",
        "intake.stored": "a batch is in the journal, the sender not answered",
        "deadletter.stored": "rejected lines are in the dead letter, the rest is not in the journal",
        "output.writing": "before a batch is given to an output",
        "output.delivered": "a batch is delivered, the cursor not moved",
        "output.flushed": "an output has flushed, the cursor is not saved",
        "filter.emitting": "a filter has computed, its emissions are not in the journal",
        "filter.emitted": "emissions are in the journal, the cursor is not moved",
        "filter.changes": "a filter has given its changes, they are not saved",
        "state.writing": "before cursors are written",
        "state.written": "cursors are written, nobody has been told",
        "collector.begun": "a batch is in the checkpoint, not sent",
        "collector.answered": "a batch is answered, the checkpoint does not know",
        "file.written": "a checkpoint is in its temporary file, not renamed",
        "file.renamed": "a checkpoint has its name, which is not synced",
    }
)


def _armed() -> tuple[str, int]:
    name, _, times = os.environ.get(VARIABLE, "").partition(":")
    if name and name not in POINTS:
        raise ConfigError([f"{VARIABLE}: crash point {name!r} is not known"])
    return name, int(times) if times.isdigit() else 1


_name, _left = _armed()


def crash_point(name: str, first: Callable[[], object] | None = None) -> None:
    """Ends the process here if this point is armed and its turn has come.

    Args:
        first: half a step that is done just before.
    """
    if name == _name:
        _count_down(first)


def _count_down(first: Callable[[], object] | None) -> None:
    global _left
    _left -= 1
    if _left == 0:
        if first is not None:
            first()
        os.kill(os.getpid(), signal.SIGKILL)

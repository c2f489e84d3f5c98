"""The watchdog: ends the process when a filter does not return, with the stack of all threads, exit status 5.

A filter computes on the event loop, so one that hangs stops everything; nothing but a new process helps. Which pack
was in hand is kept in `data_dir/hang.json`, and a pack that was in hand at three such ends is handled by `on_error`.

    {"version": 2, "runner": "traffic", "offset": 4711, "times": 2, "check": 1936837463}

`check` is the CRC-32 of "RUNNER OFFSET TIMES": a wrong offset or number here would send a good pack to the dead letter.
What has another version, or a wrong check, goes to the quarantine, and counting begins anew.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import msgspec

from dpiped.exit_code import ExitCode
from dpiped.files import write_synced
from dpiped.quarantine import Quarantine

HANG_VERSION = 2
MOST_TIMES = 3
PERIOD_SECS = 0.5
GRACE_SECS = 5.0
"""A filter that never gives the interpreter back is ended by faulthandler so much later, with exit status 1."""


class Hang(msgspec.Struct):
    """The content of hang.json."""

    runner: str = ""
    offset: int = -1
    times: int = 0
    version: int = HANG_VERSION
    check: int = 0

    def checked(self) -> int:
        """What `check` has to be."""
        return crc32(f"{self.runner} {self.offset} {self.times}".encode())


class Watch:
    """What the event loop is busy with; set by runners, read by the watchdog's thread."""

    def __init__(self, hang_secs: float = 60.0) -> None:
        self.hang_secs = hang_secs
        """A plugin that does not return for so long hangs."""
        self.busy: tuple[str, int, float] | None = None
        """(runner, offset, since: monotonic seconds)."""
        self.hung = Hang()
        """What earlier processes ended with."""

    def enter(self, runner: str, offset: int) -> None:
        self.busy = (runner, offset, time.monotonic())

    def leave(self) -> None:
        self.busy = None

    def gives_up_on(self, runner: str, offset: int) -> bool:
        """Whether this pack has ended the process too often to be tried again."""
        return (self.hung.runner, self.hung.offset) == (runner, offset) and self.hung.times >= MOST_TIMES


def load_hang(folder: Path, quarantine: Quarantine) -> Hang:
    """What is kept in the folder; empty if nothing, or nothing sound, is there."""
    file = folder / "hang.json"
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Hang)
    except FileNotFoundError:
        return Hang()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        quarantine.take(file, f"cannot be read: {exc}")
        return Hang()
    if found.version != HANG_VERSION or found.check != found.checked():
        quarantine.take(file, f"damaged, or of another version than {HANG_VERSION}")
        return Hang()
    return found


class Watchdog:
    """A thread of its own. One for each process; `start` after the engine has its folder."""

    def __init__(self, watch: Watch, folder: Path, hang_secs: float) -> None:
        self._watch = watch
        self._folder = folder
        self._hang_secs = hang_secs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_SECS):
            with suppress(RuntimeError):  # no thread can be started now: without this one nobody would watch any more
                faulthandler.dump_traceback_later(self._hang_secs + GRACE_SECS, exit=True)
            busy = self._watch.busy
            if busy is not None and time.monotonic() - busy[2] > self._hang_secs:
                self._end(busy[0], busy[1])

    def _end(self, runner: str, offset: int) -> None:
        again = self._watch.hung.runner == runner and self._watch.hung.offset == offset
        hang = Hang(runner, offset, self._watch.hung.times + 1 if again else 1)
        hang.check = hang.checked()
        try:
            write_synced(self._folder / "hang.json", msgspec.json.encode(hang))
        except OSError as exc:  # a disk that is full must not keep the process from ending
            print(f"dpiped: hang.json cannot be written: {exc.strerror}", file=sys.stderr, flush=True)
        print(
            f"dpiped: filter {runner!r} has not returned for {self._hang_secs:.0f} s on offset {offset}: ending, "
            f"time {hang.times} of {MOST_TIMES} before on_error decides",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(all_threads=True)
        os._exit(ExitCode.WATCHDOG)

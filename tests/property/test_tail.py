"""Random things happen to log files; the follower, restarted at random moments, gives every line exactly once and in
order.

The model is a logger that knows which lines it wrote completely. What is promised for each accident:
append, rename, deletion, new files and copytruncate with a copy: nothing lost, nothing doubled. Truncation of what was
read already: nothing lost, nothing doubled.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dpiped.sources.tail import Follower
from dpiped.sources.tail_marks import Positions
from dpiped.sources.tail_options import FollowOptions

NAMES = ("app.log", "web.log")


class Log:
    """One log file as its writer sees it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.number = 0
        self.partial = ""
        self.stream = self.path.open("ab")


class TailMachine(RuleBasedStateMachine):
    """Files in a temporary folder, a follower with a clock of our own, and what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 0.0
        self.stamp_ns = 0
        self.written: list[str] = []
        self.got: list[str] = []
        self.saved = Positions()

    @initialize(wide=st.booleans(), block=st.sampled_from((64 << 10, 512 << 10)), most_open=st.sampled_from((2, 64)))
    def begin(self, wide: bool, block: int, most_open: int) -> None:
        self.wide = wide
        patterns = (f"{self.folder}/*.log*",) if wide else (f"{self.folder}/*.log",)
        self.options = FollowOptions(paths=patterns, block_bytes=block, max_open_files=most_open)
        self.logs = {name: Log(self.folder, name) for name in NAMES}
        self.follower = self._start(None)

    def _start(self, positions: Positions | None) -> Follower:
        follower = Follower(self.options, clock=lambda: self.now)
        follower.start(positions)
        return follower

    def _line(self, log: Log, size: int) -> str:
        log.number += 1
        line = f"{log.path.name} {log.number} ".ljust(size, "x")
        self.written.append(line)
        return line

    def _put(self, log: Log, text: str) -> None:
        log.stream.write(text.encode())
        log.stream.flush()
        self._stamp(log.stream.fileno())

    def _open(self, log: Log) -> None:
        log.stream, log.partial = log.path.open("ab"), ""
        self._stamp(log.stream.fileno())

    def _stamp(self, file: int | str) -> None:
        """No two files were written at the same time; the kernel's own stamps are some milliseconds coarse."""
        self.stamp_ns = max(self.stamp_ns + 1, time.time_ns())
        os.utime(file, ns=(self.stamp_ns, self.stamp_ns))

    def _read_all(self) -> None:
        idle = 0
        while idle < 3:  # a step that only finds a truncation gives nothing
            idle = 0 if self._step(1 << 20) else idle + 1

    def _catch_up(self) -> None:
        """Time passes until all complete lines were read; with few descriptors a file may have to wait for one."""
        partial = {log.partial for log in self.logs.values()}
        wanted = set(self.written) - partial
        for _ in range(20):
            self.now += 1.1
            self._read_all()
            if wanted <= set(self.got):
                return

    def _step(self, limit: int) -> bool:
        chunks = self.follower.step(limit)
        for chunk in chunks:
            self.got += chunk.data.decode().splitlines()
            self.saved.apply(chunk)
        return bool(chunks)

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 30), size=st.sampled_from((20, 300, 5_000)))
    def append(self, name: str, count: int, size: int) -> None:
        log = self.logs[name]
        lines = [self._line(log, size) for _ in range(count)]
        self._put(log, log.partial + "\n".join(lines) + "\n" if not log.partial else "\n" + "\n".join(lines) + "\n")
        log.partial = ""

    @rule(name=st.sampled_from(NAMES))
    def append_part(self, name: str) -> None:
        log = self.logs[name]
        if not log.partial:
            log.partial = self._line(log, 40)
            self._put(log, log.partial)

    @rule(limit=st.sampled_from((1, 100_000, 1 << 20)), secs=st.sampled_from((0.0, 0.2, 1.1)))
    def read(self, limit: int, secs: float) -> None:
        self.now += secs
        self._step(limit)

    def _make_known(self, log: Log) -> None:
        """The follower reads a line of what the file holds now."""
        self.append(log.path.name, 1, 20)
        self._catch_up()

    @rule(name=st.sampled_from(NAMES), secs=st.sampled_from((0.0, 1.1)), late=st.integers(0, 3))
    def rename(self, name: str, secs: float, late: int) -> None:
        """Rotation as logrotate does it; the writer goes on in the old file for a while."""
        log = self.logs[name]
        if late:
            self.append(name, late, 100)
        self._shift(log)
        log.path.rename(f"{log.path}.1")
        if late:
            self.append(name, late, 100)
        log.stream.close()
        self._open(log)
        self.now += secs

    def _shift(self, log: Log) -> None:
        """`app.log.1` is `app.log.2` from now on, as long as there is something."""
        for number in range(60, 0, -1):
            old = Path(f"{log.path}.{number}")
            if old.exists():
                old.rename(f"{log.path}.{number + 1}")

    @rule(name=st.sampled_from(NAMES), late=st.integers(0, 3))
    def copytruncate(self, name: str, late: int) -> None:
        """What is written between the copy and the truncation is lost to everybody, so nothing is."""
        log = self.logs[name]
        if not self.wide:  # nobody promises to find the copy of what was never seen
            self._make_known(log)
        if late:
            self.append(name, late, 100)
        self._shift(log)
        shutil.copyfile(log.path, f"{log.path}.1")
        self._stamp(f"{log.path}.1")
        os.truncate(log.path, 0)
        self._stamp(str(log.path))
        log.partial = ""

    @rule(name=st.sampled_from(NAMES))
    def truncate_after_reading(self, name: str) -> None:
        log = self.logs[name]
        if log.partial:
            self._put(log, "\n")
            log.partial = ""
        self._catch_up()
        os.truncate(log.path, 0)

    @precondition(lambda self: self.options.max_open_files == 64)  # the promise needs the file to be open
    @rule(name=st.sampled_from(NAMES))
    def delete_after_opening(self, name: str) -> None:
        """The open descriptor still gives what nobody else sees."""
        log = self.logs[name]
        self._catch_up()
        if log.partial:
            self._put(log, "\n")
            log.partial = ""
        self._read_all()
        log.stream.close()
        log.path.unlink()
        self._open(log)

    @rule()
    def restart(self) -> None:
        """A kill: what was applied is in the positions, nothing else is left. A log that they say nothing of would be
        looked for by its globs alone.
        """
        for log in self.logs.values():
            if str(log.path) not in {mark.source or mark.path for mark in self.saved.files.values()}:
                self._make_known(log)
        self.follower.close()
        self.saved = Positions.parse(self.saved.text())
        self.follower = self._start(self.saved)

    @invariant()
    def nothing_doubled(self) -> None:
        double = [line[:20] for line, times in Counter(self.got).items() if times > 1]
        assert not double, double

    @invariant()
    def descriptors_bounded(self) -> None:
        if hasattr(self, "follower"):
            assert self.follower.open_files <= self.options.max_open_files

    def teardown(self) -> None:
        if not hasattr(self, "logs"):
            return
        for log in self.logs.values():
            if log.partial:
                self._put(log, "\n")
        for _ in range(30):
            self.now += 1.1
            self._read_all()
        missing = set(self.written) - set(self.got)
        extra = set(self.got) - set(self.written)
        assert not missing, [line[:20] for line in sorted(missing)]
        assert not extra, [line[:20] for line in sorted(extra)]
        self.follower.close()
        for log in self.logs.values():
            log.stream.close()
        shutil.rmtree(self.folder)


TailMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_tail_against_a_model = TailMachine.TestCase

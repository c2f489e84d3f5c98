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
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dpiped.sources.tail import Follower
from dpiped.sources.tail_files import FollowOptions
from dpiped.sources.tail_marks import Positions

NAMES = ("app.log", "web.log")


class Log:
    """One log file as its writer sees it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.number = 0
        self.partial = ""
        self.known = False
        """Whether the follower read a line of what the file holds now: nobody promises to find what it never saw."""
        self.stream = self.path.open("ab")


class TailMachine(RuleBasedStateMachine):
    """Files in a temporary folder, a follower with a clock of our own, and what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 0.0
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

    def _make_known(self, log: Log, late: int) -> None:
        """A file that is rotated out of the globs was seen before; `late` lines were not."""
        if not log.known and not self.wide:
            self.append(log.path.name, 1, 20)
            self._catch_up()
        if late:
            self.append(log.path.name, late, 100)
        log.known = False

    @rule(name=st.sampled_from(NAMES), secs=st.sampled_from((0.0, 1.1)), late=st.integers(0, 3))
    def rename(self, name: str, secs: float, late: int) -> None:
        """Rotation as logrotate does it; the writer goes on in the old file for a while."""
        log = self.logs[name]
        self._make_known(log, late)
        self._shift(log)
        log.path.rename(f"{log.path}.1")
        if late:
            self.append(name, late, 100)
        log.stream.close()
        log.stream, log.partial = log.path.open("ab"), ""
        self.now += secs

    def _shift(self, log: Log) -> None:
        """`app.log.1` is `app.log.2` from now on, as long as there is something."""
        for number in range(60, 0, -1):
            old = Path(f"{log.path}.{number}")
            if old.exists():
                old.rename(f"{log.path}.{number + 1}")

    @rule(name=st.sampled_from(NAMES), late=st.integers(0, 3))
    def copytruncate(self, name: str, late: int) -> None:
        log = self.logs[name]
        self._make_known(log, late)
        self._shift(log)
        shutil.copyfile(log.path, f"{log.path}.1")
        os.truncate(log.path, 0)
        log.partial = ""

    @rule(name=st.sampled_from(NAMES))
    def truncate_after_reading(self, name: str) -> None:
        log = self.logs[name]
        if log.partial:
            self._put(log, "\n")
            log.partial = ""
        self._catch_up()
        os.truncate(log.path, 0)
        log.known = False

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
        log.known = False
        log.stream = log.path.open("ab")

    @rule()
    def restart(self) -> None:
        """A kill: what was applied is in the positions, nothing else is left."""
        self.follower.close()
        self.saved = Positions.parse(self.saved.text())
        self.follower = self._start(self.saved)

    @invariant()
    def nothing_doubled(self) -> None:
        double = [line[:20] for line, times in Counter(self.got).items() if times > 1]
        assert not double

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

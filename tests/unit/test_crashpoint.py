"""Crash points are where they say, each once, and do nothing unless one is armed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from dpiped.crashpoint import POINTS, VARIABLE, crash_point

ROOT = Path(__file__).parents[2]


def test_each_point_stands_in_the_code_once() -> None:
    text = "".join(
        file.read_text("utf-8") for folder in ("dpiped", "collector") for file in (ROOT / folder).rglob("*.py")
    )
    assert Counter(re.findall(r'crash_point\("([a-z.]+)"', text)) == Counter(list(POINTS))


def test_a_point_that_is_not_armed_does_nothing() -> None:
    crash_point("journal.torn", lambda: 1 / 0)


def run(point: str) -> subprocess.CompletedProcess[str]:
    code = (
        "from dpiped.crashpoint import crash_point\n"
        "for n in range(3): print(n, flush=True); crash_point('journal.torn', lambda: print('half', flush=True))\n"
    )
    environ = {**os.environ, VARIABLE: point}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


def test_an_armed_point_ends_the_process_at_its_turn() -> None:
    ended = run("journal.torn:2")
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["0", "1", "half"]
    assert run("journal.synced").returncode == 0


def test_an_unknown_point_is_said() -> None:
    assert "crash point 'nowhere' is not known" in run("nowhere").stderr

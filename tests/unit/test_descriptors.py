"""The limit of file descriptors, raised as far as a process may."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from dpiped.descriptors import raise_limit

PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 512))
from dpiped.descriptors import raise_limit
raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_it_is_raised_to_what_is_granted() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.split() == ["512", "512"]


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1_024, 1 << 30, 65_536),
        (1_024, resource.RLIM_INFINITY, 65_536),
        (70_000, 1 << 30, None),
        (512, 512, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_it_is_raised_no_further_than_wanted_and_never_lowered(
    soft: int, hard: int, raised: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: said.append(limits))
    raise_limit()
    assert said == ([] if raised is None else [(raised, hard)])

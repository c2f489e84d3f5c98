"""For all tests: they share one process, so what one hides, or how it logs, must not be seen by another."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from dpiped import hidden


@pytest.fixture(autouse=True)
def nothing_is_hidden() -> Iterator[None]:
    yield
    hidden.forget()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that was run in this process has set it up anew, on a stream that is closed with its test."""
    root, own = logging.getLogger(), logging.getLogger("dpipe")
    before = (list(root.handlers), root.level, own.level)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


@pytest.fixture
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners save, and begin again after an error, as soon as they may."""
    monkeypatch.setattr("dpiped.runner.RESTART_INITIAL_SECS", 0.005)
    monkeypatch.setattr("dpiped.runner.SAVE_SECS", 0.02)

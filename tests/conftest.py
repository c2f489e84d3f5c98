"""For all tests: they share one process, and what one hides must not be blotted out of another's answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dpiped import hidden


@pytest.fixture(autouse=True)
def nothing_is_hidden() -> Iterator[None]:
    yield
    hidden.forget()

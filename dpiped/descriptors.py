"""File descriptors: as many as connections, files and databases may want, without anybody having to grant them."""

from __future__ import annotations

import resource

WANTED = 65_536
"""As the units of systemd grant. What a login grants, mostly 1,024, is less than `max_connections` of one input."""


def raise_limit() -> None:
    """Raises the limit of this process as far as it may by itself; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

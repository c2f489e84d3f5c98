"""What a follower of files is told: which, from where, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FollowOptions:
    """What to follow and how."""

    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    from_end: bool = False
    """Files there at the very first start are read from their end."""
    max_line_bytes: int = 1 << 20
    multiline_start: str | None = None
    multiline_timeout_secs: float = 1.0
    block_bytes: int = 1 << 20
    max_open_files: int = 512
    rotate_wait_secs: float = 3.0
    """A file that left the globs is given up when nothing was written to it for so long."""
    scan_secs: float = 1.0
    follow: bool = True
    """False: every file is read to its end once, then the follower is done."""
    checksums: bool = True
    """Chunks carry the CRC of their range, by which it can be read again; for whoever will never do so it is dear."""

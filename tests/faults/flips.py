"""Flips one bit of one file of a copied folder; every kind of file has the same chance."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

FLIPS = int(os.environ.get("DPIPE_FLIPS", "60"))
"""How many copies are damaged in one test."""


def kind_of(path: Path, folder: Path) -> str:
    """Files of one kind share a chance: `VERSION`, `hang.json`, segments, the logs of a database, .."""
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) == 1 else f"{parts[0]}/{path.suffix or path.name.rstrip('0123456789-')}"


def flip(folder: Path, chance: random.Random, wanted: Callable[[str], bool] = lambda kind: True) -> str:
    """What was flipped, for a message: kind, file, byte and bit."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        kind = kind_of(path, folder)
        if path.is_file() and path.stat().st_size and path.name not in ("lock", "LOCK") and wanted(kind):
            kinds.setdefault(kind, []).append(path)
    kind = chance.choice(sorted(kinds))
    path = chance.choice(kinds[kind])
    at, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
    return f"{kind}: bit {bit} of byte {at} of {path.relative_to(folder)}"


def fresh_copy(source: Path, target: Path) -> Path:
    """An undamaged copy, in place of the one before."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target

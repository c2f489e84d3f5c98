"""Compiles shim.c and rewrites its control file while the processes run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """Faults of everything below a folder, for processes that are started with `environ`."""

    def __init__(self, work: Path, folder: Path) -> None:
        self._control = work / "faults.control"
        self._control.write_text("")
        library = build(work)
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAULTS_FOLDER": str(folder),
            "FAULTS_CONTROL": str(self._control),
        }

    def set(self, *rules: str) -> None:
        """From now on these rules, `CALLS ACTION PERCENT PART` each; none: the disk is well."""
        fresh = self._control.with_suffix(".new")
        fresh.write_text("".join(f"{rule}\n" for rule in rules))
        fresh.replace(self._control)


def build(work: Path, source: Path = SOURCE) -> Path:
    """The compiled library; skips the test where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip(f"no C compiler (cc) for {source.name}")
    library = work / f"{source.stem}.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library

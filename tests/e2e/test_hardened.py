"""What the systemd units take away is not missed: no writable memory that runs, no capability."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PR_SET_MDWE, PR_GET_MDWE = 65, 66
"""As MemoryDenyWriteExecute=yes, where the kernel does it by itself (6.3 and later)."""
WITHOUT = f"""
import ctypes, os, sys
if ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0):
    sys.exit("refused")
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_both_programs_work_as_the_units_start_them(tmp_path: Path, e2e: Any) -> None:
    if ctypes.CDLL(None).prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot deny memory that is writable and runs")
    folder = tmp_path / "lib"
    folder.mkdir()
    command = [sys.executable, "-c", WITHOUT]
    if os.geteuid() == 0 and shutil.which("setpriv"):
        command = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--", *command]
    admin, ingest = e2e.free_port(), e2e.free_port()
    config = tmp_path / "dpiped.toml"
    config.write_text(f"""
[engine]
admin = "127.0.0.1:{admin}"
data_dir = "{folder}/dpiped"
[[input]]
type = "http"
listen = "127.0.0.1:{ingest}"
[[filter]]
type = "aggregate"
window_secs = 1
metrics = {{ hits = {{ op = "count" }} }}
[[output]]
type = "file"
path = "{folder}/out.ndjson"
where = "n ~ '^x.*' or not exists(foo)"
""")
    log = tmp_path / "app.log"
    log.write_text("one\n")
    sending = tmp_path / "collector.toml"
    sending.write_text(f"""
[collector]
data_dir = "{folder}/collector"
endpoints = ["http://127.0.0.1:{ingest}"]
status = "127.0.0.1:0"
[[input]]
type = "tail"
paths = ["{log}"]
ident = "app"
""")
    daemon = e2e.start(tmp_path, "dpiped", [*command, sys.executable, "-m", "dpiped", "run", "-c", str(config)])
    e2e.wait_until(lambda: e2e.answers(f"http://127.0.0.1:{admin}/readyz") or not daemon.running, "it gets ready")
    assert daemon.running, daemon.text()
    run = [*command, sys.executable, "-m", "collector", "run", "-c", str(sending)]
    collector = e2e.start(tmp_path, "collector", run)
    out = folder / "out.ndjson"
    e2e.wait_until(lambda: out.exists() and out.read_text().count("\n") == 1, f"it arrives\n{collector.text()}")
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/admin/stat", timeout=10) as answer:
        status = Path(f"/proc/{json.load(answer)['pid']}/status").read_text()
    if "setpriv" in command:
        assert "CapEff:\t0000000000000000" in status
    assert (collector.stop(), daemon.stop()) == (0, 0)

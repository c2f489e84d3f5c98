"""A filter that never returns ends the process; after three ends `on_error` takes the pack away."""

from __future__ import annotations

import contextlib
import os
import sys
import urllib.request
from pathlib import Path

import pytest

from .conftest import Daemon, Program, events_in, started, wait_until

PLUGIN = """
from dpiped.api import Filter, PluginConfig, register

class SpinConfig(PluginConfig):
    pass

@register("spin")
class Spin(Filter[SpinConfig]):
    def process(self, pack):
        while b"spin" in pack.body:
            pass
        return ()
"""
pytestmark = pytest.mark.timeout(150)


def test_hang(tmp_path: Path, programs: list[Program]) -> None:
    package = tmp_path / "extra"
    (package / "spin-1.dist-info").mkdir(parents=True)
    (package / "spin_plugin.py").write_text(PLUGIN)
    (package / "spin-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: spin\nVersion: 1\n")
    (package / "spin-1.dist-info" / "entry_points.txt").write_text("[dpiped.plugins]\nspin = spin_plugin\n")
    out = f'[[output]]\ntype = "file"\npath = "{tmp_path}/out/a.ndjson"\n'
    daemon = Daemon(tmp_path, '[[filter]]\ntype = "spin"\n' + out)
    config = tmp_path / "dpiped.toml"
    config.write_text(config.read_text().replace("[engine]\n", "[engine]\nhang_secs = 1\n"))
    daemon._environ["PYTHONPATH"] = os.pathsep.join([str(package), *sys.path])
    started(programs, daemon)
    with contextlib.suppress(OSError):  # the process may end before it answers
        urllib.request.urlopen(f"{daemon.url}/ingest/rs/app", data=b'{"a":"spin"}', timeout=30).close()
    for _ in range(2):
        wait_until(lambda: not daemon.running, "the watchdog ends it")
        assert daemon.status == 5
        assert "has not returned" in daemon.text()
        Program.start(daemon)
    wait_until(lambda: not daemon.running, "the watchdog ends it a third time")
    daemon.start()
    urllib.request.urlopen(f"{daemon.url}/ingest/rs/app", data=b'{"a":"fine"}', timeout=30).close()
    wait_until(lambda: len(events_in(tmp_path / "out")) == 2, "outputs got everything")
    wait_until(lambda: daemon.stat()["deadletters"]["count"] == 1, "the pack is in the dead letter")
    assert daemon.running

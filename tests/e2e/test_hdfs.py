"""Output `hdfs` at a real HDFS: exact after kills on both sides, and in safe mode.

DPIPE_HADOOP names the folder where tests/servers/hdfs was built (`mvn package`).
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fault_proxy import Fault, FaultProxy

from .conftest import Daemon, Program, free_port, started, wait_until

BUILT = os.environ.get("DPIPE_HADOOP", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not BUILT, reason="DPIPE_HADOOP names no folder of a built server"),
]
READY_SECS = 120.0
HOUR_MS = 3_600_000
AT = 19_700 * 24 * HOUR_MS


class Hdfs(Program):
    """A namenode and a datanode in one process, on ports of their own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        jars = f"{BUILT}/target/hdfs-node-1.jar:{BUILT}/target/lib/*"
        command = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", jars, "HdfsNode"]
        super().__init__(folder, "hdfs", [*command, str(folder / "hdfs"), str(self.port), str(free_port())])

    def start(self) -> None:
        before = self.text().count("READY")
        super().start()
        wait_until(lambda: self._ready(before), "the server gets ready", READY_SECS)

    def _ready(self, before: int) -> bool:
        assert self.running, self.text()[-3000:]
        return self.text().count("READY") > before

    def ask(self, path: str, op: str, method: str = "GET") -> bytes:
        url = f"{self.url}/webhdfs/v1{path}?op={op}&user.name=dpipe"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as answer:
            return bytes(answer.read())

    def files(self, path: str) -> list[str]:
        """All below a folder."""
        try:
            found = json.loads(self.ask(path, "LISTSTATUS"))["FileStatuses"]["FileStatus"]
        except urllib.error.HTTPError:
            return []
        files = []
        for one in found:
            inner = f"{path}/{one['pathSuffix']}"
            files += self.files(inner) if one["type"] == "DIRECTORY" else [inner]
        return files

    def numbers(self, path: str) -> Counter[int]:
        """How often each `n` is stored."""
        shown = [file for file in self.files(path) if "/." not in file]
        lines = (line for file in shown for line in gzip.decompress(self.ask(file, "OPEN")).splitlines())
        return Counter(json.loads(line)["n"] for line in lines)


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    server = Hdfs(tmp_path_factory.mktemp("hdfs"))
    server.start()
    yield server
    server.kill()


def start(folder: Path, programs: list[Program], path: str, *urls: str) -> Daemon:
    made = Daemon(
        folder,
        f'[[output]]\ntype = "hdfs"\nnamenodes = {json.dumps(urls)}\npath = "{path}"\n'
        "batch = { max_secs = 0.2 }\nretry = { max_secs = 1 }\n",
    )
    return started(programs, made)


def test_nothing_is_lost_or_doubled_when_both_are_killed(tmp_path: Path, programs: list[Program], hdfs: Hdfs) -> None:
    chance = random.Random(7)
    made = start(tmp_path, programs, "/kills/{ident}/hour=%H", hdfs.url)
    sent = 0
    for turn in range(6):
        for _ in range(4):
            numbers = range(sent, sent + 700)
            made.send([{"n": n, "@timestamp": AT + n % 3 * HOUR_MS, "text": "x" * 300} for n in numbers])
            sent += 700
        time.sleep(chance.uniform(0, 0.8))  # the moment is what is tried here
        made.kill()
        if turn in (1, 4):
            hdfs.kill()
            made.start()
            hdfs.start()
        else:
            made.start()
    made.wait_delivered("hdfs")
    found = hdfs.numbers("/kills")
    assert len(found) == sent
    assert set(found.values()) == {1}


@pytest.mark.parametrize("fault", ["reset", "lost", "half", 503])
def test_faults_on_the_way_lose_and_double_nothing(
    fault: Fault, tmp_path: Path, programs: list[Program], hdfs: Hdfs
) -> None:
    numbers = itertools.count(1)

    def choose(method: str, path: str) -> Fault:
        return fault if next(numbers) in (2, 4, 6, 9) else None

    with FaultProxy(hdfs.url, choose) as proxy:
        made = start(tmp_path, programs, f"/fault-{fault}", proxy.url)
        for first in range(0, 5_000, 1_000):
            made.send([{"n": n} for n in range(first, first + 1_000)])
        made.wait_delivered("hdfs")
        assert proxy.faults > 0
    found = hdfs.numbers(f"/fault-{fault}")
    assert len(found) == 5_000
    assert set(found.values()) == {1}


def test_of_two_namenodes_the_one_that_answers_is_found(tmp_path: Path, programs: list[Program], hdfs: Hdfs) -> None:
    made = start(tmp_path, programs, "/pair", f"http://127.0.0.1:{free_port()}", hdfs.url)
    made.send([{"n": n} for n in range(100)])
    made.wait_delivered("hdfs")
    assert made.plugin("hdfs")["namenode"] == hdfs.url
    assert sum(hdfs.numbers("/pair").values()) == 100


def test_a_folder_of_somebody_else_is_told(tmp_path: Path, programs: list[Program], hdfs: Hdfs) -> None:
    hdfs.ask("/theirs", "MKDIRS&permission=700", "PUT")
    owner = f"{hdfs.url}/webhdfs/v1/theirs?op=SETPERMISSION&permission=500&user.name=dpipe"
    urllib.request.urlopen(urllib.request.Request(owner, method="PUT"), timeout=60).close()
    made = start(tmp_path, programs, "/theirs", hdfs.url)
    made.send([{"n": 1}])
    wait_until(lambda: "let the user write there" in made.last_error("hdfs"), "it is told")
    assert hdfs.files("/theirs") == []

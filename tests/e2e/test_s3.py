"""Output `s3` at a real server that checks signatures and checksums: exact after kills on both sides.

DPIPE_VERSITYGW names the program of versitygw (`go install github.com/versity/versitygw/cmd/versitygw@v1.8.0`).
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.fault_proxy import Fault, FaultProxy

from .conftest import Daemon, Program, free_port, started, wait_until

GATEWAY = os.environ.get("DPIPE_VERSITYGW", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not GATEWAY, reason="DPIPE_VERSITYGW names no program"),
]
PYTHON = [sys.executable, "-m", "dpiped"]
KEY, SECRET = "dpipekey", "dpipesecret"
HOUR_MS = 3_600_000
AT = 19_700 * 24 * HOUR_MS


class Gateway(Program):
    """versitygw on a port of its own; its buckets are folders, its objects files."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder / "s3"
        (self.folder / "bucket").mkdir(parents=True)
        command = [GATEWAY, "--port", f"127.0.0.1:{self.port}", "--health", "/healthz", "--quiet", "posix"]
        secrets = {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
        super().__init__(folder, "versitygw", [*command, str(self.folder)], secrets)

    def start(self) -> None:
        super().start()
        wait_until(self._ready, "the server gets ready")

    def _ready(self) -> bool:
        assert self.running, self.text()[-3000:]
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def events(self, prefix: str, ending: str = ".gz") -> list[dict[str, Any]]:
        """Those of all objects below a prefix."""
        files = sorted((self.folder / "bucket" / prefix).rglob(f"*.ndjson{ending}"))
        read = gzip.decompress if ending == ".gz" else bytes
        return [json.loads(line) for file in files for line in read(file.read_bytes()).splitlines()]

    def numbers(self, prefix: str) -> Counter[int]:
        """How often each `n` is stored."""
        return Counter(event["n"] for event in self.events(prefix))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = Gateway(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


def table(prefix: str, at: str, more: str = "", *, secret: str = SECRET, bucket: str = "bucket") -> str:
    return (
        f'[[output]]\ntype = "s3"\nbucket = "{bucket}"\nendpoint_url = "{at}"\naddressing = "path"\n'
        f'access_key = "{KEY}"\nsecret_key = "{secret}"\nprefix = "{prefix}"\n{more}\n'
        "batch = { max_secs = 0.2 }\nretry = { max_secs = 1 }\n"
    )


def test_nothing_is_lost_or_doubled_when_both_are_killed(
    tmp_path: Path, programs: list[Program], gateway: Gateway
) -> None:
    chance = random.Random(3)
    made = started(programs, Daemon(tmp_path, table("kills/{ident}/dt=%Y-%m-%d/hour=%H", gateway.url)))
    sent = 0
    for turn in range(8):
        for _ in range(4):
            numbers = range(sent, sent + 700)
            made.send([{"n": n, "@timestamp": AT + n % 5 * HOUR_MS, "text": "x" * 300} for n in numbers])
            sent += 700
        time.sleep(chance.uniform(0, 0.6))  # the moment is what is tried here
        made.kill()
        if turn in (1, 4, 6):
            gateway.kill()
            made.start()
            gateway.start()
        else:
            made.start()
    made.wait_delivered("s3")
    found = gateway.numbers("kills")
    assert len(found) == sent
    assert set(found.values()) == {1}
    assert len(list((gateway.folder / "bucket/kills/app/dt=2023-12-09").iterdir())) == 5


def test_uploads_in_parts_survive_kills(tmp_path: Path, programs: list[Program], gateway: Gateway) -> None:
    chance = random.Random(5)
    keys = 'compression = "none"\nmultipart_bytes = "5MiB"'
    made = started(programs, Daemon(tmp_path, table("parts", gateway.url, keys)))
    sent = 0
    for _ in range(5):
        for _ in range(4):
            made.send([{"n": n, "text": random.Random(n).randbytes(2_000).hex()} for n in range(sent, sent + 1_000)])
            sent += 1_000
        time.sleep(chance.uniform(0, 0.6))  # the moment is what is tried here
        made.kill()
        made.start()
    made.wait_delivered("s3")
    found = Counter(event["n"] for event in gateway.events("parts", ""))
    assert len(found) == sent
    assert set(found.values()) == {1}
    left = [file for file in (gateway.folder / "bucket").rglob("*") if file.is_file() and ".sgwtmp" in str(file)]
    assert left == []


@pytest.mark.parametrize("fault", [0.2, "reset", "lost", "half", 503])
def test_faults_on_the_way_lose_and_double_nothing(
    fault: Fault, tmp_path: Path, programs: list[Program], gateway: Gateway
) -> None:
    numbers = itertools.count()

    def choose(method: str, path: str) -> Fault:
        return fault if method == "PUT" and next(numbers) % 2 == 0 else None

    with FaultProxy(gateway.url, choose, keep_host=True) as proxy:
        prefix = f"fault-{fault}/hour=%H"
        made = started(programs, Daemon(tmp_path, table(prefix, proxy.url)))
        for first in range(0, 5_000, 1_000):
            made.send([{"n": n, "@timestamp": AT + n % 3 * HOUR_MS} for n in range(first, first + 1_000)])
        made.wait_delivered("s3")
        assert proxy.faults > 0
    found = gateway.numbers(f"fault-{fault}")
    assert len(found) == 5_000
    assert set(found.values()) == {1}


@pytest.mark.parametrize(
    ("keys", "told"),
    [({"secret": "wrong-secret"}, "SignatureDoesNotMatch"), ({"bucket": "no-such-bucket"}, "NoSuchBucket")],
)
def test_what_an_operator_has_to_mend_is_told_and_waited_for(
    keys: dict[str, str], told: str, tmp_path: Path, programs: list[Program], gateway: Gateway
) -> None:
    made = started(programs, Daemon(tmp_path, table("mend", gateway.url, **keys)))
    made.send([{"n": 1}])
    wait_until(lambda: told in made.last_error("s3"), "it is told")
    assert made.plugin("s3")["events"] == 0
    assert "wrong-secret" not in made.text()


def test_check_connect_proves_the_rights(tmp_path: Path, gateway: Gateway, programs: list[Program]) -> None:
    for name, keys, status in (("right", {}, 0), ("wrong", {"secret": "wrong-secret"}, 1)):
        file = tmp_path / f"{name}.toml"
        file.write_text('[[input]]\ntype = "stdin"\n' + table("check", gateway.url, **keys))
        check = Program(tmp_path, name, [*PYTHON, "check", "--connect", str(file)])
        started(programs, check)
        wait_until(lambda check=check: not check.running, "check ends")
        assert check.status == status, check.text()
    assert "SignatureDoesNotMatch" in check.text()
    assert "mend the credentials" in check.text()
    assert gateway.events("check") == []

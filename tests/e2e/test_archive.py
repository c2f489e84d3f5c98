"""Input `archive` as operators use it: a run over history, killed and begun again, and its exit status."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import random
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import zstandard

from tests.servers.fault_proxy import Fault, FaultProxy

from .conftest import Program, events_in, started, wait_until
from .test_s3 import GATEWAY, KEY, SECRET, Gateway

pytestmark = pytest.mark.slow


def program(folder: Path, more: str = "", path: str = "") -> Program:
    file = folder / "archive.toml"
    file.write_text(
        f'[engine]\nadmin = "127.0.0.1:0"\ndata_dir = "{folder}/dpiped"\n[[project]]\nname = "rs"\n'
        f'[[input]]\ntype = "archive"\npaths = ["{path or folder / "in"}"]\nident = "old"\nexclude = ["*.md"]\n{more}\n'
        f'[[output]]\ntype = "file"\npath = "{folder}/out/all.ndjson"\n',
        encoding="utf-8",
    )
    return Program(folder, "archive", [sys.executable, "-m", "dpiped", "run", "-c", str(file)])


def lines_from(first: int, count: int) -> bytes:
    return b"".join(b'{"n":%d,"pad":"%s"}\n' % (n, b"x" * 200) for n in range(first, first + count))


def fill(folder: Path, count: int, each: int) -> None:
    (folder / "in" / "deep").mkdir(parents=True)
    for number in range(count):
        place = folder / "in" / ("deep" if number % 2 else "") / f"{number:03}.gz"
        place.write_bytes(gzip.compress(lines_from(number * each, each), 1))


def ended(run: Program) -> int:
    wait_until(lambda: run.status is not None, f"it ends:\n{run.text()[-2000:]}", 60)
    assert run.status is not None
    return run.status


def numbers(folder: Path) -> Counter[int]:
    return Counter(event["n"] for event in events_in(folder / "out"))


def test_a_run_that_is_killed_again_and_again_is_exact(tmp_path: Path, programs: list[Program]) -> None:
    chance = random.Random(3)
    fill(tmp_path, 24, 6_000)
    (tmp_path / "in" / "README.md").write_text("no events")
    run = program(tmp_path, "threads = 3")
    programs.append(run)
    for _ in range(5):
        run.start()
        time.sleep(chance.uniform(0.7, 1.6))  # the moment is what is tried here
        run.kill()
    run.start()
    assert ended(run) == 0
    found = numbers(tmp_path)
    assert len(found) == 24 * 6_000
    assert set(found.values()) == {1}
    run.start()
    assert ended(run) == 0, "and once more there is nothing to do"
    assert numbers(tmp_path) == found


def test_files_keep_their_order_and_their_times(tmp_path: Path, programs: list[Program]) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        lines = b"".join(b'us,%d,{"n":%d,"f":"%s"}\n' % (1_300_000_000 + n, n, name.encode()) for n in range(9_000))
        (tmp_path / "in" / f"{name}.log").write_bytes(lines)
    run = program(tmp_path, 'codec = "als"')
    started(programs, run)
    assert ended(run) == 0
    events = events_in(tmp_path / "out")
    for name in "ab":
        mine = [event for event in events if event["f"] == name]
        assert [event["n"] for event in mine] == list(range(9_000))
        assert mine[0]["@timestamp"] == 1_300_000_000_000
        assert mine[0]["_source"] == f"{tmp_path}/in/{name}.log"


def test_a_torn_file_is_named_and_the_rest_is_read(tmp_path: Path, programs: list[Program]) -> None:
    fill(tmp_path, 6, 2_000)
    torn = tmp_path / "in" / "002.gz"
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    run = program(tmp_path)
    started(programs, run)
    assert ended(run) == 4
    assert "002.gz: it is cut off in the middle" in run.text()
    before = numbers(tmp_path)
    assert set(before) > set(range(6 * 2_000)) - set(range(4_000, 6_000))
    assert 4_000 in before
    torn.write_bytes(whole)
    run.start()
    assert ended(run) == 4, "so much of it is read as it had at the first start"
    assert set(numbers(tmp_path).values()) == {1}


def test_a_torn_member_of_a_tar_file_is_named_and_the_others_are_read(tmp_path: Path, programs: list[Program]) -> None:
    whole = [gzip.compress(lines_from(2_000 * number, 2_000)) for number in range(3)]
    (tmp_path / "in").mkdir()

    def put(*members: bytes) -> None:
        with tarfile.open(tmp_path / "in" / "a.tar", "w") as tar:
            for number, data in enumerate(members):
                info = tarfile.TarInfo(f"{number}.gz")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        os.truncate(tmp_path / "in" / "a.tar", 1 << 20)  # as large when it is mended as it was

    put(whole[0], whole[1][: len(whole[1]) // 2], whole[2])
    run = program(tmp_path)
    started(programs, run)
    assert ended(run) == 4
    assert "a.tar: of member 1.gz: it is cut off in the middle" in run.text()
    found = numbers(tmp_path)
    assert set(found) > {*range(2_000), *range(4_000, 6_000)}
    put(*whole)
    run.start()
    assert ended(run) == 0
    assert numbers(tmp_path) == Counter(range(6_000))


def test_no_file_is_one_line(tmp_path: Path, programs: list[Program]) -> None:
    run = program(tmp_path)
    started(programs, run)
    assert ended(run) == 1
    assert "no file matches" in run.text()
    assert "Traceback" not in run.text()


def written(folder: Path) -> int:
    """Bytes of the output so far."""
    return sum(file.stat().st_size for file in (folder / "out").glob("*.ndjson"))


# ---- objects -------------------------------------------------------------------------------------------------------
EACH, OBJECTS = 8_000, 20


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("in.log")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A real server that has objects of every packing below `old/`."""
    if not GATEWAY:
        pytest.skip("DPIPE_VERSITYGW names no program")
    server = Gateway(tmp_path_factory.mktemp("s3"))
    server.start()
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client: Any = boto3.client("s3", endpoint_url=server.url, **keys)
    client.put_object(Bucket="bucket", Key="old/")
    for number in range(OBJECTS):
        packing = (gzip.compress, zstandard.compress, tarred, bytes)[number % 4]
        key = f"old/{'deep er/' if number % 2 else ''}{number:03}"
        client.put_object(Bucket="bucket", Key=key, Body=packing(lines_from(number * EACH, EACH)))
    client.put_object(Bucket="bucket", Key="older/not-read", Body=b'{"n":-1}\n')
    yield server
    server.kill()


def of_bucket(folder: Path, url: str, secret: str = SECRET) -> Program:
    access = f'endpoint_url = "{url}", addressing = "path", access_key = "{KEY}", secret_key = "{secret}"'
    return program(folder, f"threads = 3\ns3 = {{ {access} }}", "s3://bucket/old")


@pytest.mark.server
@pytest.mark.timeout(300)
def test_objects_are_exact_when_the_daemon_is_killed(tmp_path: Path, programs: list[Program], gateway: Gateway) -> None:
    chance = random.Random(7)
    run = of_bucket(tmp_path, gateway.url)
    programs.append(run)
    for _ in range(5):
        run.start()
        enough = written(tmp_path) + chance.randrange(1 << 18, 3 << 20)  # the moment is what is tried here
        wait_until(lambda enough=enough: written(tmp_path) >= enough, f"it reads on:\n{run.text()[-2000:]}")
        assert run.running
        run.kill()
    run.start()
    assert ended(run) == 0
    assert numbers(tmp_path) == Counter(range(OBJECTS * EACH))
    run.start()
    assert ended(run) == 0, "and once more there is nothing to do"
    assert numbers(tmp_path) == Counter(range(OBJECTS * EACH))


@pytest.mark.server
@pytest.mark.timeout(300)
def test_objects_are_exact_when_the_server_is_gone_for_a_while(
    tmp_path: Path, programs: list[Program], gateway: Gateway
) -> None:
    run = started(programs, of_bucket(tmp_path, gateway.url))
    wait_until(lambda: written(tmp_path) > 1 << 20, "it has begun")
    gateway.kill()
    wait_until(lambda: f"bucket 'bucket' at {gateway.url}: " in run.text(), "it is told")
    gateway.start()
    assert ended(run) == 0
    assert numbers(tmp_path) == Counter(range(OBJECTS * EACH))


@pytest.mark.server
@pytest.mark.timeout(300)
def test_objects_are_read_on_where_connections_broke(tmp_path: Path, programs: list[Program], gateway: Gateway) -> None:
    turns: dict[str, Iterator[Fault]] = {}
    faults: tuple[Fault, ...] = ("half", "half", "reset", 503, None)

    def choose(method: str, path: str) -> Fault:
        return next(turns.setdefault(path, itertools.cycle(faults))) if "/old/" in path else None

    with FaultProxy(gateway.url, choose, keep_host=True) as proxy:
        run = started(programs, of_bucket(tmp_path, proxy.url))
        assert ended(run) == 0
        assert proxy.faults >= OBJECTS
    assert numbers(tmp_path) == Counter(range(OBJECTS * EACH))
    assert "'bucket' at" not in run.text(), "nobody had to start again"


@pytest.mark.server
def test_wrong_credentials_are_told_and_a_stop_is_quick(
    tmp_path: Path, programs: list[Program], gateway: Gateway
) -> None:
    run = started(programs, of_bucket(tmp_path, gateway.url, "wrong-secret"))
    wait_until(lambda: "SignatureDoesNotMatch" in run.text(), "it is told")
    assert "mend the credentials" in run.text()
    assert "Traceback" not in run.text()
    assert "wrong-secret" not in run.text()
    began = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - began < 5

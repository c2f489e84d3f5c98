"""Input `archive` reads objects: which ones, over connections that break, and what is told of those it cannot read."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import zstandard

from dpiped.engine import Engine
from dpiped.s3 import reader
from dpiped.testing import events_in, running, until
from plugins.inputs import archive
from tests.servers.s3_stub import S3Stub


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Stub]:
    monkeypatch.setattr(reader, "PAUSES_SECS", (0.01, 0.01, 0.01))
    async with S3Stub().running() as stub:
        yield stub


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n":%d,"pad":"%s"}\n' % (n, b"x" * (n % 300)) for n in range(first, first + count))


def tables(stub: S3Stub, folder: Path, paths: Iterable[str], more: str = "") -> str:
    keys = "\n".join(f"s3.{key} = {json.dumps(value)}" for key, value in stub.config().items() if key != "bucket")
    return (
        f'[[input]]\ntype = "archive"\npaths = {json.dumps(list(paths))}\n{keys}\n{more}\n'
        f'[[output]]\ntype = "file"\npath = "{folder}/out.ndjson"\n'
    )


async def read(
    stub: S3Stub, folder: Path, paths: Iterable[str] = ("s3://bucket",), more: str = ""
) -> tuple[list[int], int]:
    """The numbers of all events so far, and how many files were not read, when the input has ended."""
    async with running(tables(stub, folder, paths, more), folder) as engine:
        await ended(engine)
        unread = engine.inputs[0].unread
    return sorted(event["n"] for event in events_in(folder / "out.ndjson")), unread


async def ended(engine: Engine) -> None:
    await until(lambda: engine.inputs[0].ended)


# ---- which ---------------------------------------------------------------------------------------------------------
async def test_objects_and_files_of_every_kind_are_read(stub: S3Stub, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in (("in.log", lines(3_000, 1_000)), ("in.gz", gzip.compress(lines(4_000, 1_000)))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / "local.log").write_bytes(lines(5_000, 1_000))
    stub.objects = {
        "logs/": b"",
        "logs/a.gz": gzip.compress(lines(0, 1_000)),
        "logs/deep/b c+ü.zst": zstandard.compress(lines(1_000, 1_000)),
        "logs/deep/c.log": lines(2_000, 1_000),
        "logs/deep/d.tar": packed.getvalue(),
        "logs/deep/README.md": b"no events",
        "logs2/e.log": b"another folder",
    }
    stub.page_keys = 2
    paths = [f"{tmp_path}/*.log", "s3://bucket/logs"]
    assert await read(stub, tmp_path, paths, 'exclude = ["*.md"]') == (list(range(6_000)), 0)
    assert {event["_source"] for event in events_in(tmp_path / "out.ndjson")} == {
        f"{tmp_path}/local.log",
        "s3://bucket/logs/a.gz",
        "s3://bucket/logs/deep/b c+ü.zst",
        "s3://bucket/logs/deep/c.log",
        "s3://bucket/logs/deep/d.tar!in.log",
        "s3://bucket/logs/deep/d.tar!in.gz",
    }


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("s3://bucket", [0, 1, 2, 3]),
        ("s3://bucket/", [0, 1, 2, 3]),
        ("s3://bucket/logs", [0, 1, 2]),
        ("s3://bucket/logs/", [1, 2]),
        ("s3://bucket/logs/a", [1]),
        ("s3://bucket/logs/*", [1]),
        ("s3://bucket/**/b", [2]),
    ],
)
async def test_a_path_is_an_object_a_folder_or_a_glob(
    path: str, numbers: list[int], stub: S3Stub, tmp_path: Path
) -> None:
    keys = ("logs", "logs/a", "logs/x/b", "logs0/c")
    stub.objects = {key: b'{"n":%d}\n' % number for number, key in enumerate(keys)}
    assert await read(stub, tmp_path, [path]) == (numbers, 0)


async def test_only_what_a_glob_can_match_is_listed(stub: S3Stub, tmp_path: Path) -> None:
    stub.objects = {"logs/2024/a": lines(0, 1)}
    await read(stub, tmp_path, ["s3://bucket/logs/20*/a", "s3://bucket/logs/2024/a"])
    listed = [request for request in stub.requests if "list-type" in request]
    assert [one.partition("prefix=")[2].partition("&")[0] for one in listed] == [
        "logs%2F20",
        "logs%2F2024%2Fa",
        "logs%2F2024%2Fa%2F",
    ]
    assert "max-keys=1&" in listed[1]


# ---- connections that break ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("packing", [bytes, gzip.compress, zstandard.compress])
async def test_an_object_is_read_on_where_the_connection_broke(
    packing: type[bytes], stub: S3Stub, tmp_path: Path
) -> None:
    stub.objects = {"a": packing(lines(0, 20_000)), "b": packing(lines(20_000, 20_000))}
    size = len(stub.objects["a"])
    stub.get_faults = {"a": [size // 3, (503, "SlowDown"), size // 3, 0, (500, "InternalError")], "b": [size // 2]}
    assert await read(stub, tmp_path) == (list(range(40_000)), 0)
    assert sum("GET /bucket/a" in request for request in stub.requests) == 6


async def test_an_object_that_is_replaced_meanwhile_is_not_mixed(stub: S3Stub, tmp_path: Path) -> None:
    stub.objects = {"a": lines(0, 20_000), "b": lines(20_000, 10)}
    stub.get_faults = {"a": [1_000_000, 0.3]}
    async with running(tables(stub, tmp_path, ["s3://bucket"]), tmp_path) as engine:
        await until(lambda: sum("/bucket/a" in request for request in stub.requests) == 2)
        stub.objects["a"] = lines(0, 20_000).replace(b"x", b"y")
        await ended(engine)
        assert engine.inputs[0].unread == 1
    events = events_in(tmp_path / "out.ndjson")
    assert "y" not in "".join(event["pad"] for event in events)
    numbers = sorted(event["n"] for event in events)
    assert numbers[-10:] == list(range(20_000, 20_010))
    assert numbers[:-10] == list(range(len(numbers) - 10))
    assert len(numbers) > 1_000


async def test_an_object_that_is_replaced_before_it_is_begun_is_read_at_the_next_start(
    stub: S3Stub, tmp_path: Path
) -> None:
    stub.objects = {"a": lines(0, 10), "b": lines(10, 10)}
    stub.get_faults = {"b": [0.3]}
    async with running(tables(stub, tmp_path, ["s3://bucket"]), tmp_path) as engine:
        await until(lambda: any("/bucket/b" in request for request in stub.requests))
        stub.objects["b"] = lines(10, 20)
        await ended(engine)
        assert engine.inputs[0].unread == 1
    assert await read(stub, tmp_path) == (list(range(30)), 0)


# ---- what cannot be read -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ((404, "NoSuchKey"), "it is gone"),
        ((403, "AccessDenied"), "the user has no right to read it"),
        ((403, "InvalidObjectState"), "restore it first"),
        ((400, "KMS.DisabledException"), "no right to use its key"),
    ],
)
async def test_one_object_that_cannot_be_read_is_named_and_tried_at_the_next_start(
    fault: tuple[int, str], told: str, stub: S3Stub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stub.objects = {"a": lines(0, 10), "b": lines(10, 10), "c": lines(20, 10)}
    stub.get_faults = {"b": [fault]}
    others = [*range(10), *range(20, 30)]
    assert await read(stub, tmp_path) == (others, 1)
    details = [vars(record).get("details", {}) for record in caplog.records]
    (detail,) = (one["detail"] for one in details if "s3://bucket" in one.get("detail", ""))
    assert detail.startswith(f"s3://bucket/b: {fault[1]}: ")
    assert told in detail
    assert await read(stub, tmp_path) == (list(range(30)), 0)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ((403, "SignatureDoesNotMatch"), "mend the credentials"),
        ((403, "AccessDenied"), "mend the credentials"),
        ((404, "NoSuchBucket"), "make the bucket"),
        ((400, "AuthorizationHeaderMalformed"), "set `region`"),
        ((403, "RequestTimeTooSkewed"), "clock"),
    ],
)
async def test_what_an_operator_has_to_mend_is_told_and_waited_for(
    fault: tuple[int, str], told: str, stub: S3Stub, tmp_path: Path
) -> None:
    stub.objects = {"a": lines(0, 10)}
    stub.list_faults = [fault]
    async with running(tables(stub, tmp_path, ["s3://bucket"]), tmp_path) as engine:
        error = engine.inputs[0].last_error
        await ended(engine)
    assert error.startswith(f"bucket 'bucket' at {stub.url}: {fault[1]} ")
    assert told in error
    assert [event["n"] for event in events_in(tmp_path / "out.ndjson")] == list(range(10))


async def test_nothing_enters_twice_when_the_store_is_down_for_long(
    stub: S3Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpiped.s3.errors.SLOW_SECS", 0.1)
    stub.objects = {"a": lines(0, 20_000), "b": gzip.compress(lines(20_000, 20_000))}
    stub.get_faults = {"a": [2_000_000, *[(503, "SlowDown")] * 5], "b": [1_000, *[(403, "ExpiredToken")] * 2]}
    stub.list_faults = [(503, "SlowDown")]
    assert await read(stub, tmp_path) == (list(range(40_000)), 0)
    assert sum("list-type" in request for request in stub.requests) > 2


# ---- stop ----------------------------------------------------------------------------------------------------------
async def test_a_stop_does_not_wait_for_a_store_that_hangs(stub: S3Stub, tmp_path: Path) -> None:
    stub.objects = {"a": lines(0, 20_000)}
    stub.get_faults = {"a": [1_000_000, 50.0]}
    async with running(tables(stub, tmp_path, ["s3://bucket"]), tmp_path) as engine:
        await until(lambda: sum("/bucket/a" in request for request in stub.requests) == 2)
        await asyncio.sleep(0.1)  # so that a thread waits in it
        began = time.monotonic()
        engine.stop()
    assert time.monotonic() - began < 3
    stub.get_faults = {}
    assert await read(stub, tmp_path) == (list(range(20_000)), 0)


async def test_a_list_that_takes_long_keeps_nobody_from_starting_and_stopping(
    stub: S3Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "OPEN_SECS", 0.2)
    stub.objects = {"a": lines(0, 10)}
    stub.list_faults = [50.0]
    began = time.monotonic()
    async with running(tables(stub, tmp_path, ["s3://bucket"]), tmp_path):
        pass
    assert time.monotonic() - began < 5
    stub.list_faults = [1.0]
    assert await read(stub, tmp_path) == (list(range(10)), 0)

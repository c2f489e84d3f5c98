"""Output `hdfs` against a stub with a pair of namenodes; a real cluster is in tests/e2e."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from dpiped.batch import Batch
from dpiped.errors import TemporaryError
from dpiped.hdfs import HdfsConfig
from dpiped.plugin import PluginContext
from dpiped.telemetry import Telemetry
from plugins.outputs.hdfs import HdfsOutput
from tests.servers.hdfs_stub import HdfsStub

from .test_s3 import AT, HOUR_MS, NAME, pack_of

FILE = f"/logs/rs/web/dt=2023-12-09/hour=00/{NAME}.ndjson.gz"
HIDDEN = f"/logs/rs/web/dt=2023-12-09/hour=00/.{NAME}.ndjson.gz.tmp"


@pytest.fixture
async def stub() -> AsyncIterator[HdfsStub]:
    async with HdfsStub().running() as stub:
        yield stub


class Use:
    """An output at the stub."""

    def __init__(self, stub: HdfsStub, **options: Any) -> None:
        self.telemetry = Telemetry()
        config = HdfsConfig.model_validate({"namenodes": stub.urls, **options})
        self.plugin = HdfsOutput(config, PluginContext(name="hdfs", telemetry=self.telemetry))

    async def __aenter__(self) -> Use:
        await self.plugin.open(None)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.plugin.close()

    def batch(self, *packs: list[dict[str, Any]]) -> Batch:
        fields = {*self.plugin.fields(), "@timestamp"}
        return Batch([pack_of(offset, events, fields) for offset, events in enumerate(packs)], False, NAME)

    @property
    def stored_before(self) -> float:
        return float(self.telemetry.metrics.noted.labels("hdfs", "stored_before")._value.get())


async def test_each_hour_gets_a_file_that_comes_up_whole(stub: HdfsStub) -> None:
    async with Use(stub) as use:
        await use.plugin.write(use.batch([{"n": 0}, {"n": 1, "@timestamp": AT + HOUR_MS}], [{"n": 2}]))
    assert sorted(stub.files) == [FILE, FILE.replace("hour=00", "hour=01")]
    assert sorted(event["n"] for event in stub.events()) == [0, 1, 2]
    steps = [one.split()[2] for one in stub.requests if HIDDEN in one]
    assert steps == ["CREATE", "DATA", "RENAME"]


async def test_a_file_that_is_there_counts_as_delivered(stub: HdfsStub) -> None:
    for _ in range(2):
        async with Use(stub) as use:
            await use.plugin.write(use.batch([{"n": 0}, {"n": 1}]))
    assert list(stub.files) == [FILE]
    assert use.stored_before == 2
    assert len([one for one in stub.requests if " DATA " in one]) == 1


@pytest.mark.parametrize("op", ["CREATE", "DATA", "RENAME"])
async def test_a_lost_answer_doubles_nothing(stub: HdfsStub, op: str) -> None:
    stub.faults = [(op, "lost")]
    async with Use(stub) as use:
        batch = use.batch([{"n": 0}])
        with contextlib.suppress(TemporaryError):  # aiohttp asks again by itself where that is allowed
            await use.plugin.write(batch)
        await use.plugin.write(batch)
    assert stub.faults == []
    assert list(stub.files) == [FILE]
    assert [event["n"] for event in stub.events()] == [0]


async def test_what_a_kill_left_under_the_hidden_name_is_replaced(stub: HdfsStub) -> None:
    stub.files[HIDDEN] = b"torn"
    async with Use(stub) as use:
        await use.plugin.write(use.batch([{"n": 0}]))
    assert list(stub.files) == [FILE]
    stub.files[HIDDEN] = b"torn"
    async with Use(stub) as use:
        await use.plugin.write(use.batch([{"n": 0}]))
    assert list(stub.files) == [FILE]


async def test_a_file_that_cannot_be_renamed_is_not_delivered(stub: HdfsStub) -> None:
    rename = stub._rename

    def meanwhile(path: str, other: str) -> Any:
        stub.files[other] = b""
        return rename(path, other)

    async with Use(stub) as use:
        batch = use.batch([{"n": 0}])
        stub._rename = lambda path, other: rename(path, "/absent/file")  # type: ignore[method-assign]
        with pytest.raises(TemporaryError, match="could not be renamed"):
            await use.plugin.write(batch)
        stub._rename = meanwhile  # type: ignore[method-assign]
        await use.plugin.write(batch)
    assert list(stub.files) == [FILE]
    assert use.stored_before == 1


async def test_the_active_namenode_is_found_and_kept(stub: HdfsStub) -> None:
    stub.refusals = {0: (403, "StandbyException")}
    async with Use(stub) as use:
        await use.plugin.write(use.batch([{"n": 0}]))
        assert use.plugin.status()["namenode"] == stub.urls[1]
    assert len([one for one in stub.requests if one.startswith("0 ") and " DATA " not in one]) == 1
    assert list(stub.files) == [FILE]


async def test_a_namenode_that_is_gone_is_passed_over(stub: HdfsStub) -> None:
    stub.refusals = {}
    async with Use(stub, namenodes=["http://127.0.0.1:9", stub.urls[0]]) as use:
        await use.plugin.write(use.batch([{"n": 0}]))
    assert list(stub.files) == [FILE]


async def test_when_none_is_active_all_are_named(stub: HdfsStub) -> None:
    stub.refusals = {0: (403, "StandbyException"), 1: (403, "StandbyException")}
    async with Use(stub) as use:
        with pytest.raises(TemporaryError, match="no namenode is active") as failed:
            await use.plugin.write(use.batch([{"n": 0}]))
    assert all(url in str(failed.value) for url in stub.urls)


@pytest.mark.parametrize(
    ("answer", "told", "slow"),
    [
        ((403, "SafeModeException"), "safe mode", True),
        ((403, "AccessControlException"), "let the user write", True),
        ((403, "DSQuotaExceededException"), "raise the quota", True),
        ((401, "SecurityException"), "Kerberos", True),
        ((400, "IllegalArgumentException"), "an operator has to mend it", True),
        ((403, "RetriableException"), "tried again", False),
        ((500, "IOException"), "tried again", False),
    ],
)
async def test_what_goes_wrong_is_told_in_one_line(
    stub: HdfsStub, answer: tuple[int, str], told: str, slow: bool
) -> None:
    stub.refusals[0] = answer
    async with Use(stub) as use:
        with pytest.raises(TemporaryError, match=told) as failed:
            await use.plugin.write(use.batch([{"n": 0}]))
        assert (failed.value.retry_after_secs == 30.0) is slow
        assert "\n" not in str(failed.value)
        del stub.refusals[0]
        await use.plugin.write(use.batch([{"n": 0}]))
    assert list(stub.files) == [FILE]


async def test_a_datanode_that_cannot_write(stub: HdfsStub) -> None:
    stub.faults = [("DATA", (403, "IOException"))]
    async with Use(stub) as use:
        with pytest.raises(TemporaryError, match="IOException"):
            await use.plugin.write(use.batch([{"n": 0}]))
    assert stub.events() == []


async def test_the_probe_makes_nothing(stub: HdfsStub) -> None:
    async with Use(stub, path="/logs/a/{ident}") as use:
        assert await use.plugin.probe() == []
        assert stub.files == {}
        assert "0 GET CHECKACCESS /" in stub.requests
        stub.refusals[0] = (403, "AccessControlException")
        with pytest.raises(TemporaryError, match="let the user write"):
            await use.plugin.probe()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": "logs"}, "begins with /"),
        ({"path": "/logs/%H:%M"}, "no colon"),
        ({"path": "/logs//x"}, "no slash"),
        ({"path": "/a/../b"}, "not allowed"),
        ({"path": "/{uid}"}, "unknown field"),
        ({"user": "a b"}, "name of a user"),
        ({"namenodes": []}, "at least 1"),
        ({"namenodes": ["http://a:b@c"]}, "credentials"),
    ],
)
def test_mistakes_of_the_config_are_found(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        HdfsConfig.model_validate(options)

"""Output `s3` against a stub that checks and refuses as a server does; a real one is in tests/e2e."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest

from dpiped.batch import Batch
from dpiped.errors import TemporaryError
from dpiped.plugin import PluginContext
from dpiped.s3 import S3Config
from dpiped.telemetry import Telemetry
from dpiped.testing import body_of, until, view_of
from dpiped.view import PackView
from plugins.outputs.s3 import S3Output
from tests.servers.s3_stub import S3Stub, opened

HOUR_MS = 3_600_000
AT = 19_700 * 24 * HOUR_MS
"""2023-12-09."""
NAME = "00ff-000000000000-000000000001"


@pytest.fixture
async def stub() -> AsyncIterator[S3Stub]:
    async with S3Stub().running() as stub:
        yield stub


def pack_of(offset: int, events: list[dict[str, Any]], fields: Collection[str], ident: str = "web") -> PackView:
    """A pack of events at AT, accepted a month later."""
    return view_of(
        body_of({"@timestamp": AT, **event} for event in events),
        fields,
        epoch="00ff",
        offset=offset,
        project="rs",
        ident=ident,
        host="h1",
        source="/var/log/x",
        accepted_ms=AT + 30 * 24 * HOUR_MS,
    )


class Use:
    """An output at the stub. What it saves before a crash is in `states`."""

    def __init__(self, stub: S3Stub, folder: Path | None = None, **options: Any) -> None:
        self.telemetry = Telemetry()
        self.states: list[bytes] = []

        async def save(state: bytes) -> None:
            self.states.append(state)

        context = PluginContext(name="s3", telemetry=self.telemetry, data_dir=folder, save_state=save)
        self.plugin = S3Output(S3Config.model_validate(stub.config(**options)), context)

    async def __aenter__(self) -> Use:
        await self.plugin.open(None)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.plugin.close()

    def batch(self, *packs: list[dict[str, Any]], metadata: bool = False, ident: str = "web") -> Batch:
        fields = {*self.plugin.fields(), "@timestamp"}
        return Batch([pack_of(offset, events, fields, ident) for offset, events in enumerate(packs)], metadata, NAME)

    def noted(self, what: str) -> float:
        return float(self.telemetry.metrics.noted.labels("s3", what)._value.get())


def events_of(stub: S3Stub, key: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in opened(key, stub.objects[key]).splitlines()]


# ---- objects and their keys ----------------------------------------------------------------------------------------
async def test_each_hour_and_ident_gets_an_object_of_the_name_of_the_batch(stub: S3Stub) -> None:
    async with Use(stub) as use:
        first = [{"n": 0}, {"n": 1, "@timestamp": AT + HOUR_MS}, {"n": 2}]
        await use.plugin.write(use.batch(first, [{"n": 3, "@timestamp": AT + HOUR_MS}]))
    assert {key: [event["n"] for event in events_of(stub, key)] for key in stub.objects} == {
        f"rs/web/dt=2023-12-09/hour=00/{NAME}.ndjson.gz": [0, 2],
        f"rs/web/dt=2023-12-09/hour=01/{NAME}.ndjson.gz": [1, 3],
    }


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"prefix": "", "compression": "none"}, f"{NAME}.ndjson"),
        ({"prefix": "a/b", "compression": "zstd"}, f"a/b/{NAME}.ndjson.zst"),
        ({"prefix": "{host}/%Y-%m-%d", "time": "accepted"}, f"h1/2024-01-08/{NAME}.ndjson.gz"),
    ],
)
async def test_names_follow_the_config(stub: S3Stub, options: dict[str, Any], key: str) -> None:
    async with Use(stub, **options) as use:
        await use.plugin.write(use.batch([{"n": 0}], [{"n": 1}]))
    assert list(stub.objects) == [key]
    assert [event["n"] for event in events_of(stub, key)] == [0, 1]


async def test_an_ident_from_outside_cannot_leave_the_prefix(stub: S3Stub) -> None:
    async with Use(stub, prefix="logs/{ident}") as use:
        await use.plugin.write(use.batch([{"n": 0}], ident="../../etc"))
    assert list(stub.objects) == [f"logs/__.._etc/{NAME}.ndjson.gz"]


async def test_host_and_source_are_written_into_the_events(stub: S3Stub) -> None:
    async with Use(stub) as use:
        await use.plugin.write(use.batch([{"n": 0}], metadata=True))
    assert stub.events() == [{"@timestamp": AT, "n": 0, "_host": "h1", "_source": "/var/log/x"}]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_the_same_batch_gives_the_same_bytes(stub: S3Stub, compression: str) -> None:
    packs = [[{"n": n, "text": f"some {n * 7919 % 1000}"} for n in range(2_000)] for _ in range(3)]
    seen = []
    for _ in range(2):
        async with Use(stub, compression=compression) as use:
            await use.plugin.write(use.batch(*packs))
        seen.append(dict(stub.objects))
        stub.objects.clear()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 1


async def test_encryption_and_storage_class_are_asked_for(stub: S3Stub) -> None:
    async with Use(stub, sse="aws:kms", kms_key="alias/logs", storage_class="STANDARD_IA") as use:
        await use.plugin.write(use.batch([{"n": 0}]))
    ((_, headers),) = stub.headers.items()
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/logs"
    assert headers["x-amz-storage-class"] == "STANDARD_IA"
    assert headers["if-none-match"] == "*"


async def test_so_many_objects_are_sent_at_once_as_the_config_says(stub: S3Stub, tmp_path: Path) -> None:
    async with Use(stub, tmp_path, max_uploads=3) as use:
        await use.plugin.write(use.batch([{"n": n, "@timestamp": AT + n * HOUR_MS} for n in range(200)]))
    assert len(stub.objects) == 200
    assert 1 < stub.at_once <= 3
    assert list(tmp_path.iterdir()) == []


# ---- once ----------------------------------------------------------------------------------------------------------
async def test_what_is_there_already_counts_as_delivered(stub: S3Stub) -> None:
    for _ in range(2):
        async with Use(stub) as use:
            await use.plugin.write(use.batch([{"n": 0}, {"n": 1}]))
    assert [event["n"] for event in stub.events()] == [0, 1]
    assert use.noted("stored_before") == 2


async def test_a_lost_answer_doubles_nothing(stub: S3Stub) -> None:
    stub.faults = ["lost"]
    async with Use(stub) as use:
        batch = use.batch([{"n": 0}])
        with pytest.raises(TemporaryError, match="bucket 'bucket' at http"):
            await use.plugin.write(batch)
        await use.plugin.write(batch)
    assert [event["n"] for event in stub.events()] == [0]


async def test_only_what_is_missing_is_sent_again(stub: S3Stub) -> None:
    stub.faults = [None, (503, "SlowDown"), None]
    async with Use(stub, max_uploads=1) as use:
        batch = use.batch([{"n": n, "@timestamp": AT + n * HOUR_MS} for n in range(4)])
        with pytest.raises(TemporaryError, match="SlowDown"):
            await use.plugin.write(batch)
        assert len(stub.objects) == 1
        await use.plugin.write(batch)
    assert len(stub.objects) == 4
    assert len([one for one in stub.requests if one.startswith("PUT")]) == 5


async def test_while_another_writes_the_same_key_it_waits(stub: S3Stub) -> None:
    stub.faults = [(409, "ConditionalRequestConflict")]
    async with Use(stub) as use:
        with pytest.raises(TemporaryError, match="tried again") as failed:
            await use.plugin.write(use.batch([{"n": 0}]))
    assert failed.value.retry_after_secs is None


async def test_a_write_that_is_cancelled_does_not_wait_for_the_store(stub: S3Stub) -> None:
    held, gate = asyncio.Event(), asyncio.Event()
    answer = stub._answer

    async def hold(request: Any) -> Any:
        held.set()
        await gate.wait()
        return await answer(request)

    stub._answer = hold  # type: ignore[method-assign]
    async with Use(stub) as use:
        task = asyncio.create_task(use.plugin.write(use.batch([{"n": 0}])))
        await held.wait()
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
    gate.set()
    await until(lambda: len(stub.objects) == 1)


# ---- in parts ------------------------------------------------------------------------------------------------------
LARGE = [[{"n": n, "text": "x" * 1_000_000}] for n in range(12)]
PARTS = {"compression": "none", "multipart_bytes": "5MiB", "prefix": "logs"}


async def test_large_objects_are_sent_in_parts(stub: S3Stub, tmp_path: Path) -> None:
    async with Use(stub, tmp_path, **PARTS) as use:
        await use.plugin.write(use.batch(*LARGE))
    assert [event["n"] for event in stub.events()] == list(range(12))
    assert len([one for one in stub.requests if "partNumber" in one]) == 2
    assert stub.uploads == {}


async def test_those_that_are_not_so_large_are_sent_whole(stub: S3Stub, tmp_path: Path) -> None:
    async with Use(stub, tmp_path, compression="none") as use:
        await use.plugin.write(use.batch(*LARGE))
    assert [event["n"] for event in stub.events()] == list(range(12))
    assert not [one for one in stub.requests if "partNumber" in one]


async def test_an_upload_goes_on_with_the_next_part(stub: S3Stub) -> None:
    stub.faults = [None, None, (500, "InternalError")]
    async with Use(stub, **PARTS) as use:
        batch = use.batch(*LARGE)
        with pytest.raises(TemporaryError, match="InternalError"):
            await use.plugin.write(batch)
        await use.plugin.write(batch)
    assert [one.partition("partNumber=")[2][0] for one in stub.requests if "partNumber" in one] == ["1", "2", "2"]
    assert [event["n"] for event in stub.events()] == list(range(12))


async def test_a_lost_answer_to_the_last_request_of_an_upload(stub: S3Stub) -> None:
    stub.faults = [None, None, None, "lost"]
    async with Use(stub, **PARTS) as use:
        batch = use.batch(*LARGE)
        for error in ("closed", "NoSuchUpload"):
            with pytest.raises(TemporaryError, match=error):
                await use.plugin.write(batch)
        await use.plugin.write(batch)
    assert [event["n"] for event in stub.events()] == list(range(12))
    assert use.noted("stored_before") == 12


async def test_an_upload_of_before_a_crash_is_aborted_and_no_other(stub: S3Stub) -> None:
    stub.uploads["other"] = (f"logs/{NAME}.ndjson.of-somebody-else", {})
    stub.faults = [None, None, (500, "InternalError")]
    use = Use(stub, **PARTS)
    await use.plugin.open(None)
    with pytest.raises(TemporaryError):
        await use.plugin.write(use.batch(*LARGE))
    assert len(stub.uploads) == 2
    again = Use(stub, **PARTS)
    await again.plugin.open(use.states[-1])
    assert list(stub.uploads) == ["other"]
    assert again.noted("aborted_uploads") == 1
    await again.plugin.write(again.batch(*LARGE))
    assert [event["n"] for event in stub.events()] == list(range(12))
    for one in (use, again):
        await one.plugin.close()


async def test_an_object_that_comes_up_meanwhile_ends_the_upload(stub: S3Stub) -> None:
    async with Use(stub, **PARTS) as use:
        await use.plugin.write(use.batch(*LARGE))
        (key,) = stub.objects
    there, stub.objects = dict(stub.objects), {}
    do = stub._do

    def meanwhile(request: Any, name: str, body: bytes) -> Any:
        if "partNumber" in request.query:
            stub.objects.update(there)
        return do(request, name, body)

    stub._do = meanwhile  # type: ignore[method-assign]
    async with Use(stub, **PARTS) as use:
        await use.plugin.write(use.batch(*LARGE))
    assert list(stub.objects) == [key]
    assert stub.uploads == {}
    assert use.noted("stored_before") == 12

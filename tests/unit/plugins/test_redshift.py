"""Output `redshift` by the Data API, against stubs; by the PostgreSQL protocol it is in tests/integration."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from dpiped.batch import Batch
from dpiped.errors import TemporaryError
from dpiped.plugin import PluginContext
from dpiped.redshift import RedshiftConfig, Statements
from dpiped.telemetry import Telemetry
from plugins.outputs.redshift import RedshiftOutput
from tests.servers.data_api_stub import DataApiStub
from tests.servers.s3_stub import S3Stub

from .test_s3 import AT, HOUR_MS, NAME, pack_of

MANIFEST = f"events/manifests/rs/{NAME}.json"
ADDRESS = f"s3://bucket/{MANIFEST}"


class Stubs(NamedTuple):
    bucket: S3Stub
    api: DataApiStub


@pytest.fixture
async def stubs() -> AsyncIterator[Stubs]:
    async with S3Stub().running() as bucket, DataApiStub(bucket).running() as api:
        yield Stubs(bucket, api)


class Use:
    """An output at the stubs."""

    def __init__(self, stubs: Stubs, **options: Any) -> None:
        self.telemetry = Telemetry()
        database = {"workgroup": "logs-wg", "name": "logs", "endpoint_url": stubs.api.url}
        given = stubs.bucket.config(table="public.events", database=database, prefix="events/hour=%H", **options)
        context = PluginContext(name="rs", telemetry=self.telemetry)
        self.plugin = RedshiftOutput(RedshiftConfig.model_validate(given), context)

    async def __aenter__(self) -> Use:
        await self.plugin.open(None)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.plugin.close()

    def batch(self, *packs: list[dict[str, Any]]) -> Batch:
        return Batch([pack_of(offset, events, ["@timestamp"]) for offset, events in enumerate(packs)], False, NAME)

    @property
    def loaded_before(self) -> float:
        return float(self.telemetry.metrics.noted.labels("rs", "loaded_before")._value.get())


async def test_a_batch_becomes_objects_a_manifest_and_rows(stubs: Stubs) -> None:
    async with Use(stubs) as use:
        await use.plugin.write(use.batch([{"n": 0}, {"n": 1, "@timestamp": AT + HOUR_MS}], [{"n": 2}]))
    objects = [f"events/hour=00/{NAME}.ndjson.gz", f"events/hour=01/{NAME}.ndjson.gz"]
    assert sorted(stubs.bucket.objects) == [*objects, MANIFEST]
    assert json.loads(stubs.bucket.objects[MANIFEST]) == {
        "entries": [{"url": f"s3://bucket/{key}", "mandatory": True} for key in objects]
    }
    assert stubs.api.loaded == [ADDRESS]
    assert sorted(event["n"] for event in stubs.api.events) == [0, 1, 2]
    assert {key: stubs.api.given[-1][key] for key in ("WorkgroupName", "Database")} == {
        "WorkgroupName": "logs-wg",
        "Database": "logs",
    }


async def test_a_manifest_that_was_loaded_counts_as_delivered(stubs: Stubs) -> None:
    for _ in range(2):
        async with Use(stubs) as use:
            await use.plugin.write(use.batch([{"n": 0}, {"n": 1}]))
    assert [event["n"] for event in stubs.api.events] == [0, 1]
    assert use.loaded_before == 2


async def test_a_lost_answer_doubles_nothing(stubs: Stubs) -> None:
    stubs.api.faults = ["lost"]
    async with Use(stubs) as use:
        batch = use.batch([{"n": 0}])
        with pytest.raises(TemporaryError, match="database 'logs' of 'logs-wg'"):
            await use.plugin.write(batch)
        await use.plugin.write(batch)
    assert [event["n"] for event in stubs.api.events] == [0]


async def test_two_that_load_the_same_at_once(stubs: Stubs) -> None:
    """The other one comes to its end between our question and our transaction."""
    async with Use(stubs) as use:
        run = stubs.api._run

        def meanwhile(statements: list[str], identity: str) -> str:
            if len(statements) > 1 and not stubs.api.loaded:
                run(statements, "other")
            return run(statements, identity)

        stubs.api._run = meanwhile  # type: ignore[method-assign]
        batch = use.batch([{"n": 0}])
        with pytest.raises(TemporaryError, match="division by zero"):
            await use.plugin.write(batch)
        await use.plugin.write(batch)
    assert [event["n"] for event in stubs.api.events] == [0]


async def test_what_copy_finds_wrong_is_told_and_waited_for(stubs: Stubs) -> None:
    stubs.api.faults = ["ERROR: Load into table 'events' failed.\nCheck 'sys_load_error_detail'"]
    async with Use(stubs) as use:
        batch = use.batch([{"n": 0}])
        with pytest.raises(TemporaryError, match="Load into table 'events' failed") as failed:
            await use.plugin.write(batch)
        assert failed.value.retry_after_secs == 30.0
        assert "\n" not in str(failed.value)
        assert stubs.api.loaded == []
        await use.plugin.write(batch)
    assert [event["n"] for event in stubs.api.events] == [0]


async def test_the_probe_stores_nothing(stubs: Stubs) -> None:
    use = Use(stubs, columns=["n", "@timestamp"])
    assert await use.plugin.probe() == []
    assert stubs.bucket.objects == {}
    assert stubs.api.calls == [['SELECT "n", "@timestamp" FROM "public"."events" WHERE 1 = 0']]
    await use.plugin.close()


def config(**options: Any) -> RedshiftConfig:
    database = {"host": "h", "user": "u", "password": "p"}
    return RedshiftConfig.model_validate({"bucket": "bucket", "table": "events", "database": database, **options})


def test_the_statement_of_copy() -> None:
    role = "arn:aws:iam::123456789012:role/copy"
    whole = config(
        table="my.Events",
        columns=["n", "@timestamp"],
        copy_role=role,
        region="eu-central-1",
        compression="zstd",
        max_errors=5,
        json_paths="s3://b/paths.json",
    )
    assert Statements(whole, "s3://bucket/it's.json", 3).copy == (
        'COPY "my"."Events" ("n", "@timestamp") FROM \'s3://bucket/it\'\'s.json\' '
        f"IAM_ROLE '{role}' MANIFEST FORMAT AS JSON 's3://b/paths.json' ZSTD TIMEFORMAT 'epochmillisecs' "
        "REGION 'eu-central-1' MAXERROR 5"
    )
    assert Statements(config(compression="none"), "s3://b/m", 3).copy == (
        "COPY \"events\" FROM 's3://b/m' IAM_ROLE default MANIFEST FORMAT AS JSON 'auto' TIMEFORMAT 'epochmillisecs'"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"table": 'a"; DROP TABLE x'}, "expected a table"),
        ({"loaded_table": "a.b.c.d"}, "expected a table"),
        ({"columns": ["a;b"]}, "name of a column"),
        ({"copy_role": "admin"}, "ARN of a role"),
        ({"json_paths": "s3://a b"}, "JSONPaths"),
        ({"database": {"name": "dev"}}, "one of host, cluster and workgroup"),
        ({"database": {"host": "h", "cluster": "c", "user": "u", "password": "p"}}, "one of host"),
        ({"database": {"host": "h"}}, "user and password"),
        ({"database": {"cluster": "c", "password": "p"}}, "secret_arn"),
        ({"database": {"workgroup": "w"}}, "3 to 64"),
        ({"prefix": "a\\b"}, "expected letters"),
    ],
)
def test_mistakes_of_the_config_are_found(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config(**options)

"""Parquet objects of the output `s3`: columns, types, and what does not fit."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.servers.s3_stub import S3Stub

from .test_s3 import AT, Use

COLUMNS = {
    "@timestamp": "timestamp",
    "user.id": "int64",
    "name": "string",
    "price": "float64",
    "paid": "boolean",
    "tags": "strings",
    "_host": "string",
}


@pytest.fixture
async def stub() -> AsyncIterator[S3Stub]:
    async with S3Stub().running() as stub:
        yield stub


def table_of(stub: S3Stub) -> Any:
    ((key, data),) = stub.objects.items()
    assert key.endswith(".parquet")
    return pq.read_table(io.BytesIO(data))


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_columns_have_the_types_of_the_config(stub: S3Stub, compression: str) -> None:
    event = {"user": {"id": 7}, "name": "ann", "price": 2, "paid": True, "tags": ["a", "b"], "more": 1}
    async with Use(stub, format="parquet", columns=COLUMNS, compression=compression) as use:
        await use.plugin.write(use.batch([event, {}], [event]))
    table = table_of(stub)
    assert table.schema.types == [
        pa.timestamp("ms", tz="UTC"),
        pa.int64(),
        pa.string(),
        pa.float64(),
        pa.bool_(),
        pa.list_(pa.string()),
        pa.string(),
    ]
    rows = table.to_pylist()
    assert [row["user.id"] for row in rows] == [7, None, 7]
    assert rows[0] | {"@timestamp": 0} == {
        "@timestamp": 0,
        "user.id": 7,
        "name": "ann",
        "price": 2.0,
        "paid": True,
        "tags": ["a", "b"],
        "_host": "h1",
    }
    assert int(rows[0]["@timestamp"].timestamp() * 1000) == AT
    assert use.noted("wrong_type") == 0


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("string", [1, True, [], 1.5]),
        ("int64", ["1", True, 1.5, 2**63]),
        ("float64", ["1", False, [1]]),
        ("boolean", [0, "true"]),
        ("timestamp", ["2023-12-09", 1.5]),
        ("strings", ["a", [1], ["a", None]]),
    ],
)
async def test_a_value_of_another_type_is_null_and_counted(stub: S3Stub, kind: str, wrong: list[Any]) -> None:
    async with Use(stub, format="parquet", columns={"v": kind}) as use:
        await use.plugin.write(use.batch([{"v": value} for value in [*wrong, None]]))
    assert table_of(stub).column("v").to_pylist() == [None] * (len(wrong) + 1)
    assert use.noted("wrong_type") == len(wrong)


async def test_a_whole_number_that_no_float_tells_exactly(stub: S3Stub) -> None:
    async with Use(stub, format="parquet", columns={"v": "float64"}) as use:
        await use.plugin.write(use.batch([{"v": 2**60 + 1}]))
    assert table_of(stub).column("v").to_pylist() == [float(2**60)]


async def test_the_same_batch_gives_the_same_bytes(stub: S3Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpiped.objects.parquet.GROUP_ROWS", 1_000)
    packs = [json.loads(json.dumps([{"name": f"n{n % 97}", "price": n / 3} for n in range(900)])) for _ in range(4)]
    seen = []
    for _ in range(2):
        async with Use(stub, format="parquet", columns={"name": "string", "price": "float64"}) as use:
            await use.plugin.write(use.batch(*packs))
        seen.append(dict(stub.objects))
        table = table_of(stub)
        stub.objects.clear()
    assert seen[0] == seen[1]
    assert table.num_rows == 3_600

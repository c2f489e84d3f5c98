"""Output `redshift`: loads events into a table of Amazon Redshift, by way of objects in a bucket and COPY.

Delivery: exactly once. The objects of a batch are named after it and listed in a manifest. One transaction notes the
manifest in a table and loads it: one that is noted when it comes again counts as delivered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from dpiped.api import (
    OBJECT_BATCH,
    Batch,
    Body,
    Bucket,
    DataApi,
    Deliverer,
    Output,
    RedshiftConfig,
    RedshiftSession,
    RedshiftStatements,
    StoredObject,
    Workers,
    bytes_body,
    pattern_of,
    register,
)


@register("redshift")
class RedshiftOutput(Output[RedshiftConfig]):
    stable_batches: ClassVar[bool] = True
    batch_defaults: ClassVar[Mapping[str, int | float]] = OBJECT_BATCH

    def __init__(self, config: RedshiftConfig, context: Any) -> None:
        super().__init__(config, context)
        self._workers = Workers(context.name, config.max_uploads)
        self._bucket = Bucket(config, context, self._workers, config.max_uploads)
        self._deliverer = Deliverer(config.prefix, config, context, self._workers, self._put)
        self._warehouse = RedshiftSession(config) if config.database.host else DataApi(config)
        self._is_prepared = False

    @classmethod
    def exclusive(cls, config: RedshiftConfig) -> str | None:
        where = config.endpoint_url or ""
        return f"bucket {config.bucket!r}{where and f' at {where}'} with prefix {pattern_of(config.prefix)!r}"

    async def open(self, saved: bytes | None) -> None:
        await self._bucket.open(saved)

    async def probe(self) -> list[str]:
        """Looks at the bucket and at the table; stores nothing."""
        problems = await self._bucket.probe()
        await self._workers.call(self._warehouse.look)
        return problems

    async def write(self, batch: Batch) -> None:
        stored = await self._deliverer.deliver(batch)
        manifest = await self._put_manifest(batch.name, stored)
        if not self._is_prepared:
            await self._workers.call(self._warehouse.prepare)
            self._is_prepared = True
        is_new = await self._workers.call(self._warehouse.load, RedshiftStatements(self.config, manifest, batch.count))
        if not is_new:
            noted = self.context.telemetry.metrics.noted
            noted.labels(self.context.name, "loaded_before").inc(batch.count)
        self._bucket.settled()

    async def _put_manifest(self, name: str, stored: Sequence[StoredObject]) -> str:
        """The list of the objects, as COPY reads it; returns its address."""
        bucket = self.config.bucket
        entries = [{"url": f"s3://{bucket}/{one.key}", "mandatory": True} for one in stored]
        folder = re.split(r"[{%]", self.config.prefix)[0].rpartition("/")[0]
        key = f"{folder}/manifests/{self.context.name}/{name}.json".lstrip("/")
        await self._bucket.put(key, bytes_body(msgspec.json.encode({"entries": entries})), "application/json")
        return f"s3://{bucket}/{key}"

    async def _put(self, key: str, body: Body) -> bool:
        return await self._bucket.put(key, body, "application/x-ndjson")

    def saved(self) -> bytes | None:
        return self._bucket.saved()

    def status(self) -> dict[str, object]:
        return self._deliverer.status()

    def renew(self) -> bool:
        """Certificates are only read when a client is made."""
        return not (self.config.tls.ca or self.config.tls.cert)

    async def close(self) -> None:
        self._workers.close()
        self._bucket.close()

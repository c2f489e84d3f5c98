"""Output `redshift`: loads events into a table of Amazon Redshift, by way of objects in a bucket and COPY.

Delivery: exactly once. The objects of a batch are named after it and listed in a manifest. One transaction notes the
manifest in a table and loads it: one that is noted when it comes again counts as delivered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from dpiped.api import (
    Batch,
    BucketOutput,
    DataApi,
    RedshiftConfig,
    RedshiftSession,
    RedshiftStatements,
    StoredObject,
    bytes_body,
    register,
)


@register("redshift")
class RedshiftOutput(BucketOutput[RedshiftConfig]):
    def __init__(self, config: RedshiftConfig, context: Any) -> None:
        super().__init__(config, context)
        self._warehouse = RedshiftSession(config) if config.database.host else DataApi(config)
        self._is_prepared = False

    async def probe(self) -> list[str]:
        """Looks at the bucket and at the table; stores nothing."""
        problems = await super().probe()
        await self.workers.call(self._warehouse.look)
        return problems

    async def write(self, batch: Batch) -> None:
        stored = await self.deliverer.deliver(batch)
        manifest = await self._put_manifest(batch.name, stored)
        if not self._is_prepared:
            await self.workers.call(self._warehouse.prepare)
            self._is_prepared = True
        is_new = await self.workers.call(self._warehouse.load, RedshiftStatements(self.config, manifest, batch.count))
        if not is_new:
            noted = self.context.telemetry.metrics.noted
            noted.labels(self.context.name, "loaded_before").inc(batch.count)
        self.bucket.settled()

    async def _put_manifest(self, name: str, stored: Sequence[StoredObject]) -> str:
        """The list of the objects, as COPY reads it; returns its address."""
        bucket = self.config.bucket
        entries = [{"url": f"s3://{bucket}/{one.key}", "mandatory": True} for one in stored]
        folder = re.split(r"[{%]", self.config.prefix)[0].rpartition("/")[0]
        key = f"{folder}/manifests/{self.context.name}/{name}.json".lstrip("/")
        await self.bucket.put(key, bytes_body(msgspec.json.encode({"entries": entries})), "application/json")
        return f"s3://{bucket}/{key}"

"""Output `s3`: stores events as objects in a bucket of S3, of Amazon or others: NDJSON or Parquet, by time and project.

Delivery: exactly once. The borders of a batch are saved before it is sent, its objects are named after it and made
once: one that is there already when it is sent again counts as delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from dpiped.api import OBJECT_BATCH, Batch, Body, Bucket, Deliverer, Output, S3Config, Workers, pattern_of, register


@register("s3")
class S3Output(Output[S3Config]):
    stable_batches: ClassVar[bool] = True
    batch_defaults: ClassVar[Mapping[str, int | float]] = OBJECT_BATCH

    def __init__(self, config: S3Config, context: Any) -> None:
        super().__init__(config, context)
        self._workers = Workers(context.name, config.max_uploads)
        self._bucket = Bucket(config, context, self._workers, config.max_uploads)
        self._deliverer = Deliverer(config.prefix, config, context, self._workers, self._put)
        self._kind = "application/vnd.apache.parquet" if config.format == "parquet" else "application/x-ndjson"

    @classmethod
    def notes(cls, config: S3Config) -> list[str]:
        if config.create_only:
            return []
        return ["create_only = false: an object that is there already is written again, with the same events"]

    @classmethod
    def exclusive(cls, config: S3Config) -> str | None:
        where = config.endpoint_url or ""
        return f"bucket {config.bucket!r}{where and f' at {where}'} with prefix {pattern_of(config.prefix)!r}"

    def fields(self) -> Iterable[str]:
        return self.config.columns

    async def open(self, saved: bytes | None) -> None:
        await self._bucket.open(saved)

    async def probe(self) -> list[str]:
        """Looks at the bucket, and begins an upload that it aborts: nothing is stored."""
        return await self._bucket.probe()

    async def write(self, batch: Batch) -> None:
        await self._deliverer.deliver(batch)
        self._bucket.settled()

    async def _put(self, key: str, body: Body) -> bool:
        return await self._bucket.put(key, body, self._kind)

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

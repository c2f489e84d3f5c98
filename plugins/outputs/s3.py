"""Output `s3`: stores events as objects in a bucket of S3, of Amazon or others: NDJSON or Parquet, by time and project.

Delivery: exactly once. The borders of a batch are saved before it is sent, its objects are named after it and made
once: one that is there already when it is sent again counts as delivered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, Any, ClassVar

import boto3  # noqa: F401 - so that a config that needs it is refused where it is not installed

from dpiped.api import (
    OBJECT_BATCH,
    Batch,
    Deliverer,
    ObjectPartition,
    Output,
    S3Config,
    register,
    write_ndjson,
    write_parquet,
)


@register("s3")
class S3Output(Output[S3Config]):
    stable_batches: ClassVar[bool] = True
    batch_defaults: ClassVar[Mapping[str, int | float]] = OBJECT_BATCH

    def __init__(self, config: S3Config, context: Any) -> None:
        super().__init__(config, context)
        kind = "application/vnd.apache.parquet" if config.format == "parquet" else "application/x-ndjson"
        self._deliverer = Deliverer(config, context, self._write, config.ending, kind)

    @classmethod
    def notes(cls, config: S3Config) -> list[str]:
        if config.create_only:
            return []
        return ["create_only = false: an object that is there already is written again, with the same events"]

    def fields(self) -> Iterable[str]:
        return self.config.columns

    async def open(self, saved: bytes | None) -> None:
        await self._deliverer.open(saved)

    async def probe(self) -> list[str]:
        """Looks at the bucket, and begins an upload that it aborts: nothing is stored."""
        return await self._deliverer.probe()

    async def write(self, batch: Batch) -> None:
        await self._deliverer.deliver(batch)

    def _write(self, file: IO[bytes], partition: ObjectPartition, batch: Batch) -> int:
        """Called in a thread."""
        config = self.config
        if config.format == "parquet":
            return write_parquet(file, partition, config.columns, config.compression)
        level, metadata = config.gzip_level, batch.metadata
        write_ndjson(file, partition, compression=config.compression, gzip_level=level, metadata=metadata)
        return 0

    def saved(self) -> bytes | None:
        return self._deliverer.saved()

    def status(self) -> dict[str, object]:
        return self._deliverer.status()

    async def close(self) -> None:
        self._deliverer.close()

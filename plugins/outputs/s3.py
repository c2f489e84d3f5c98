"""Output `s3`: stores events as objects in a bucket of S3, of Amazon or others: NDJSON or Parquet, by time and project.

Delivery: exactly once. The borders of a batch are saved before it is sent, its objects are named after it and made
once: one that is there already when it is sent again counts as delivered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dpiped.api import Batch, BucketOutput, S3Config, register


@register("s3")
class S3Output(BucketOutput[S3Config]):
    def __init__(self, config: S3Config, context: Any) -> None:
        super().__init__(config, context)
        if config.format == "parquet":
            self.content_type = "application/vnd.apache.parquet"

    @classmethod
    def notes(cls, config: S3Config) -> list[str]:
        if config.create_only:
            return []
        return ["create_only = false: an object that is there already is written again, with the same events"]

    def fields(self) -> Iterable[str]:
        return self.config.columns

    async def write(self, batch: Batch) -> None:
        await self.deliverer.deliver(batch)
        self.bucket.settled()

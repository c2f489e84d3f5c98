"""BucketOutput: what outputs share that store batches as objects in a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from dpiped.objects import OBJECT_BATCH, Body, Deliverer, pattern_of
from dpiped.plugin import Output
from dpiped.s3.bucket import Bucket
from dpiped.s3.config import BucketOutputConfig
from dpiped.workers import Workers

C = TypeVar("C", bound=BucketOutputConfig)


class BucketOutput(Output[C]):
    """A subclass has `write`: `self.deliverer` stores the objects of a batch, `self.bucket.settled()` ends it."""

    stable_batches: ClassVar[bool] = True
    batch_defaults: ClassVar[Mapping[str, int | float]] = OBJECT_BATCH
    content_type = "application/x-ndjson"
    """Of its objects."""

    def __init__(self, config: C, context: Any) -> None:
        super().__init__(config, context)
        self.workers = Workers(context.name, config.max_uploads)
        self.bucket = Bucket(config, context, self.workers, config.max_uploads)
        self.deliverer = Deliverer(config.prefix, config, context, self.workers, self._put)

    @classmethod
    def exclusive(cls, config: C) -> str | None:
        where = config.endpoint_url or ""
        return f"bucket {config.bucket!r}{where and f' at {where}'} with prefix {pattern_of(config.prefix)!r}"

    async def open(self, saved: bytes | None) -> None:
        await self.bucket.open(saved)

    async def probe(self) -> list[str]:
        """Looks at the bucket, and begins an upload that it aborts: nothing is stored."""
        return await self.bucket.probe()

    async def _put(self, key: str, body: Body) -> bool:
        return await self.bucket.put(key, body, self.content_type)

    def saved(self) -> bytes | None:
        return self.bucket.saved()

    def status(self) -> dict[str, object]:
        return self.deliverer.status()

    def renew(self) -> bool:
        return not self.config.names_files

    async def close(self) -> None:
        self.workers.close()
        self.bucket.close()

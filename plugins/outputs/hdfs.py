"""Output `hdfs`: stores events as files in HDFS, by WebHDFS: NDJSON or Parquet, by time and project.

Delivery: exactly once. The borders of a batch are saved before it is sent, its files are named after it, written under
a hidden name and renamed: a file that is there already when it is sent again counts as delivered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from dpiped.api import (
    OBJECT_BATCH,
    Batch,
    Body,
    Deliverer,
    HdfsConfig,
    Output,
    Tls,
    WebHdfs,
    Workers,
    client_tls,
    pattern_of,
    register,
)


@register("hdfs")
class HdfsOutput(Output[HdfsConfig]):
    stable_batches: ClassVar[bool] = True
    batch_defaults: ClassVar[Mapping[str, int | float]] = OBJECT_BATCH

    def __init__(self, config: HdfsConfig, context: Any) -> None:
        super().__init__(config, context)
        self._workers = Workers(context.name, config.max_uploads)
        self._deliverer = Deliverer(config.path[1:], config, context, self._workers, self._put)

    @classmethod
    def exclusive(cls, config: HdfsConfig) -> str | None:
        return f"path {pattern_of(config.path)!r} at {config.namenodes[0]}"

    def fields(self) -> Iterable[str]:
        return self.config.columns

    async def open(self, saved: bytes | None) -> None:
        self._tls = await client_tls(self.config.tls, [str(url) for url in self.config.namenodes])
        self._client = WebHdfs(self.config, self._tls)

    async def probe(self) -> list[str]:
        """Asks whether the user may write in the folder that the path names literally; nothing is made."""
        await self.open(None)
        literal = re.split(r"[{%]", self.config.path)[0]
        await self._client.access(literal.rpartition("/")[0] or "/")
        return []

    async def write(self, batch: Batch) -> None:
        await self._deliverer.deliver(batch)

    async def _put(self, key: str, body: Body) -> bool:
        return await self._client.put(f"/{key}", body)

    def status(self) -> dict[str, object]:
        return {**self._deliverer.status(), "namenode": self._client.active}

    def renew(self) -> bool:
        tls: Tls | None = getattr(self, "_tls", None)
        return tls is None or tls.renew()

    async def close(self) -> None:
        self._workers.close()
        if hasattr(self, "_client"):
            await self._client.close()

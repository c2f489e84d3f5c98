"""From a stable batch to objects: as many at once as the config says, each once, also after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import IO, NamedTuple

from dpiped.batch import Batch
from dpiped.errors import TemporaryError
from dpiped.objects.body import Body, spooled, write_ndjson
from dpiped.objects.config import FormatConfig, ObjectConfig
from dpiped.objects.keys import Partition, Partitions, key_of
from dpiped.objects.parquet import write_parquet
from dpiped.plugin import PluginContext
from dpiped.workers import Workers

OBJECT_BATCH: Mapping[str, int | float] = {"max_bytes": 32 << 20, "max_events": 500_000, "max_secs": 60.0}
"""Defaults of `batch` for outputs that store objects: few that are large. About three times as much is in memory."""
Put = Callable[[str, Body], Awaitable[bool]]
"""Stores an object under a key and closes its body; False: it was there. Raises TemporaryError."""


class Stored(NamedTuple):
    """One object that is in the store."""

    key: str
    size: int
    events: int


class Deliverer:
    """One for each output. Used on the event loop; what blocks is done in threads.

    Args:
        template: of the folders, see Partitions.
    """

    def __init__(self, template: str, config: ObjectConfig, context: PluginContext, workers: Workers, put: Put) -> None:
        self._config = config
        self._context = context
        self._workers = workers
        self._put = put
        self._partitions = Partitions(template, config.time)
        self._name = ""
        self._done: dict[str, Stored] = {}
        """Objects of the batch with this name that are in the store."""
        self.objects = 0
        self.bytes = 0

    async def deliver(self, batch: Batch) -> Sequence[Stored]:
        """Returns when all events of the batch are in the store, with its objects in the order of their keys. Raises
        TemporaryError; what is in the store is not sent again with the same batch.
        """
        if batch.name != self._name:
            self._name, self._done = batch.name, {}
        partitions = await self._workers.call(self._partitions.of, batch)
        todo = [one for one in partitions if self._key(one, batch) not in self._done]
        todo.reverse()
        failures: list[Exception] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(todo), self._config.max_uploads)):
                group.create_task(self._send_some(todo, batch, failures), name=f"{self._context.name} objects")
        if failures:
            raise failures[0]
        return [self._done[self._key(one, batch)] for one in partitions]

    def _key(self, partition: Partition, batch: Batch) -> str:
        return key_of(partition.folder, batch.name + self._config.ending)

    async def _send_some(self, todo: list[Partition], batch: Batch, failures: list[Exception]) -> None:
        """Until nothing is left or something failed; what is under way elsewhere comes to its end."""
        while todo and not failures:
            try:
                await self._send(todo.pop(), batch)
            except Exception as exc:  # raised when the others have come to an end
                failures.append(exc)

    async def _send(self, partition: Partition, batch: Batch) -> None:
        key = self._key(partition, batch)
        body, misfits = await self._workers.call(self._make, partition, batch)
        stored = Stored(key, body.size, partition.count)
        is_new = await self._put(key, body)
        self._done[key] = stored
        if misfits:
            self._note("wrong_type", misfits)
        if is_new:
            self.objects += 1
            self.bytes += stored.size
        else:
            self._note("stored_before", stored.events)

    def _make(self, partition: Partition, batch: Batch) -> tuple[Body, int]:
        """(object, values of the wrong type in it). In a thread."""
        misfits: list[int] = []
        write = partial(_write, config=self._config, partition=partition, batch=batch, misfits=misfits)
        folder = self._context.data_dir
        try:
            body = spooled(write, folder)
        except OSError as exc:
            raise TemporaryError(f"temporary file in {folder}: {exc.strerror or exc}") from exc
        return body, sum(misfits)

    def _note(self, what: str, amount: int) -> None:
        self._context.telemetry.metrics.noted.labels(self._context.name, what).inc(amount)

    def status(self) -> dict[str, object]:
        """For `/admin/stat`."""
        return {"objects": self.objects, "object_bytes": self.bytes}


def _write(file: IO[bytes], *, config: ObjectConfig, partition: Partition, batch: Batch, misfits: list[int]) -> None:
    if isinstance(config, FormatConfig) and config.format == "parquet":
        misfits.append(write_parquet(file, partition, config.columns, config.compression))
        return
    level, metadata = config.gzip_level, batch.metadata
    write_ndjson(file, partition, compression=config.compression, gzip_level=level, metadata=metadata)

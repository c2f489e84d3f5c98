"""From a stable batch to objects: as many at once as the config says, each once, also after a crash.

Before an object is sent in parts its key is saved, synced. So after a crash the uploads that were begun are known, and
aborted; no other upload in the bucket is ever touched.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import IO, NamedTuple

import msgspec

from dpiped.batch import Batch
from dpiped.errors import TemporaryError
from dpiped.plugin import PluginContext
from dpiped.s3.body import Body, spooled
from dpiped.s3.config import ObjectConfig
from dpiped.s3.keys import Partition, Partitions, key_of
from dpiped.s3.store import BucketStore
from dpiped.workers import Workers

OBJECT_BATCH: Mapping[str, int | float] = {"max_bytes": 32 << 20, "max_events": 500_000, "max_secs": 60.0}
"""Defaults of `batch` for outputs that store objects: few that are large. About three times as much is in memory."""
Write = Callable[[IO[bytes], Partition, Batch], int]
"""Writes the events of a partition; returns how many values had to be left out."""


class Stored(NamedTuple):
    """One object that is in the store."""

    key: str
    size: int
    events: int


class Deliverer:
    """One for each output. Used on the event loop; what blocks is done in threads."""

    def __init__(
        self, config: ObjectConfig, context: PluginContext, write: Write, ending: str, content_type: str
    ) -> None:
        self._config = config
        self._context = context
        self._write = write
        self._ending = ending
        self._content_type = content_type
        self._partitions = Partitions(config.prefix, config.time)
        self.store = BucketStore(config)
        self.workers = Workers(f"{context.name} s3", config.max_uploads)
        self._uploads: list[str] = []
        """Keys that are being sent in parts, as they are saved."""
        self._saving = asyncio.Lock()
        self._name = ""
        self._done: dict[str, Stored] = {}
        """Objects of the batch with this name that are in the store."""
        self.objects = 0
        self.bytes = 0

    async def open(self, saved: bytes | None) -> None:
        """Connects; aborts what was begun before a crash. Raises TemporaryError."""
        await self.workers.call(self.store.connect)
        self._uploads = msgspec.msgpack.decode(saved, type=list[str]) if saved else []
        for key in list(self._uploads):
            aborted = await self.workers.call(self.store.abort, key)
            self._uploads.remove(key)
            if aborted:
                self._note("aborted_uploads", aborted)
                self._context.telemetry.say(
                    "aborted an upload that was begun before the stop; it is sent anew",
                    plugin=self._context.name,
                    detail=key,
                    level=logging.WARNING,
                )

    async def probe(self) -> list[str]:
        """What keeps objects from being stored, a line each. Raises TemporaryError."""
        await self.workers.call(self.store.connect)
        literal = re.split(r"[{%]", self._config.prefix)[0]
        return await self.workers.call(self.store.probe, f"{literal}dpipe-check")

    def saved(self) -> bytes:
        """What the output saves with its cursor."""
        return msgspec.msgpack.encode(self._uploads)

    async def deliver(self, batch: Batch) -> Sequence[Stored]:
        """Returns when all events of the batch are in the store, with its objects in the order of their keys. Raises
        TemporaryError; what is in the store is not sent again with the same batch.
        """
        if batch.name != self._name:
            self._name, self._done = batch.name, {}
        partitions = await self.workers.call(self._partitions.of, batch)
        todo = [one for one in partitions if self._key(one, batch) not in self._done]
        todo.reverse()
        failures: list[BaseException] = []
        width = min(len(todo), self._config.max_uploads)
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(self._send_some(todo, batch, failures), name=f"{self._context.name} objects")
        if failures:
            raise failures[0]
        self._uploads = []
        return [self._done[self._key(one, batch)] for one in partitions]

    def _key(self, partition: Partition, batch: Batch) -> str:
        return key_of(partition.folder, batch.name + self._ending)

    async def _send_some(self, todo: list[Partition], batch: Batch, failures: list[BaseException]) -> None:
        """Until nothing is left or something failed; what is under way elsewhere comes to its end."""
        while todo and not failures:
            try:
                await self._send(todo.pop(), batch)
            except Exception as exc:  # raised when the others have come to an end
                failures.append(exc)

    async def _send(self, partition: Partition, batch: Batch) -> None:
        key = self._key(partition, batch)
        body, left_out = await self.workers.call(self._make, partition, batch)
        if body.size > self._config.multipart_bytes:
            await self._announce(key)
        is_new = await self.workers.call(self._put, key, body)
        self._done[key] = Stored(key, body.size, partition.count)
        if left_out:
            self._note("wrong_type", left_out)
        if is_new:
            self.objects += 1
            self.bytes += body.size
        else:
            self._note("stored_before", partition.count)

    def _make(self, partition: Partition, batch: Batch) -> tuple[Body, int]:
        left_out = 0

        def write(file: IO[bytes]) -> None:
            nonlocal left_out
            left_out = self._write(file, partition, batch)

        try:
            body = spooled(write, self._context.data_dir)
        except OSError as exc:
            raise TemporaryError(f"temporary file in {self._context.data_dir}: {exc.strerror or exc}") from exc
        return body, left_out

    def _put(self, key: str, body: Body) -> bool:
        """Closes the body in any case: only this thread knows when nobody reads it any more."""
        try:
            return self.store.put(key, body, self._content_type)
        finally:
            body.close()

    async def _announce(self, key: str) -> None:
        """The key is on disk before an upload of it is begun."""
        async with self._saving:
            if key not in self._uploads:
                self._uploads.append(key)
                await self._context.save_state(self.saved())

    def _note(self, what: str, amount: int) -> None:
        self._context.telemetry.metrics.noted.labels(self._context.name, what).inc(amount)

    def status(self) -> dict[str, object]:
        """For `/admin/stat`."""
        return {"objects": self.objects, "object_bytes": self.bytes}

    def close(self) -> None:
        """Threads that hang in a request are left to their time limit."""
        self.workers.close()
        self.store.close()

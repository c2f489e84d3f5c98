"""The asynchronous face of a bucket, and what of it outlives a crash.

Before an object is sent in parts its key is saved, synced. So after a crash the uploads that were begun are known, and
aborted; no other upload in the bucket is ever touched.
"""

from __future__ import annotations

import asyncio
import logging
import re

import msgspec

from dpiped.objects.body import Body
from dpiped.plugin import PluginContext
from dpiped.s3.config import BucketConfig
from dpiped.s3.store import BucketStore
from dpiped.workers import Workers


class Bucket:
    """One for each output. Used on the event loop."""

    def __init__(self, config: BucketConfig, context: PluginContext, workers: Workers, connections: int) -> None:
        self._config = config
        self._context = context
        self._workers = workers
        self._store = BucketStore(config, connections)
        self._uploads: list[str] = []
        """Keys that were sent in parts, as they are saved, until the cursor is."""
        self._saving = asyncio.Lock()

    async def open(self, saved: bytes | None) -> None:
        """Connects; aborts what was begun before a crash. Raises TemporaryError."""
        await self._workers.call(self._store.connect)
        self._uploads = msgspec.msgpack.decode(saved, type=list[str]) if saved else []
        for key in list(self._uploads):
            aborted = await self._workers.call(self._store.abort, key)
            self._uploads.remove(key)
            if aborted:
                name, telemetry = self._context.name, self._context.telemetry
                telemetry.metrics.noted.labels(name, "aborted_uploads").inc(aborted)
                text = "aborted an upload that was begun before the stop; it is sent anew"
                telemetry.say(text, plugin=name, detail=key, level=logging.WARNING)

    async def probe(self) -> list[str]:
        """What keeps objects from being stored, a line each. Raises TemporaryError."""
        await self._workers.call(self._store.connect)
        literal = re.split(r"[{%]", self._config.prefix)[0]
        return await self._workers.call(self._store.probe, f"{literal}dpipe-check")

    async def put(self, key: str, body: Body, content_type: str) -> bool:
        """Stores an object and closes it; False: it was there. Raises TemporaryError."""
        if body.size > self._config.multipart_bytes:
            await self._announce(key)
        return await self._workers.call(self._put, key, body, content_type)

    def _put(self, key: str, body: Body, content_type: str) -> bool:
        """Closes the body in any case: only this thread knows when nobody reads it any more."""
        try:
            return self._store.put(key, body, content_type)
        finally:
            body.close()

    async def _announce(self, key: str) -> None:
        """The key is on disk before an upload of it is begun."""
        async with self._saving:
            if key not in self._uploads:
                self._uploads.append(key)
                await self._context.save_state(self.saved())

    def settled(self) -> None:
        """All that was put is there: no upload is under way."""
        self._uploads = []

    def saved(self) -> bytes:
        """What the output saves with its cursor."""
        return msgspec.msgpack.encode(self._uploads)

    def close(self) -> None:
        """What is under way in a thread is left to its time limit."""
        self._store.close()

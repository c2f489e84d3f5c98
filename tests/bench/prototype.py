"""A plain prototype of the daemon's first rows: what they cost at least, of the same libraries, on the same machine.

It takes a POST, decodes the time of each event, stores the body with a sync, and does nothing else: nothing is checked,
named, routed, counted or read back.

    python -m tests.bench.prototype run -c FILE     # keys: port, folder, has_file
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import plyvel
import uvloop
import zstandard
from aiohttp import web

from tests.bench.process import Measured

MOST_BYTES = 64 << 20


class Event(msgspec.Struct, gc=False):
    time: int = msgspec.field(name="@timestamp", default=0)


class Prototype(Measured):
    def __init__(self, folder: Path, port: int, *, has_file: bool) -> None:
        self._port = port
        config = f'port = {port}\nfolder = "{folder}"\nhas_file = {str(has_file).lower()}\n'
        super().__init__("tests.bench.prototype", config, folder)

    async def ready(self) -> None:
        await self.wait_until(self._answers, "the prototype gets ready")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


class _Road:
    def __init__(self, folder: Path, *, has_file: bool) -> None:
        self._journal = plyvel.DB(str(folder / "journal"), create_if_missing=True)
        self._writer = ThreadPoolExecutor(1)
        self._decoder = msgspec.json.Decoder(Event)
        self._out = os.open(folder / "out.ndjson", os.O_WRONLY | os.O_APPEND | os.O_CREAT) if has_file else -1
        self._offset = 0

    async def take(self, request: web.Request) -> web.Response:
        stored = await request.read()
        body = zstandard.ZstdDecompressor().decompress(stored, max_output_size=MOST_BYTES)
        times = [event.time for event in self._decoder.decode_lines(body)]
        head = b"%d %d %d" % (min(times), max(times), len(times))
        self._offset += 1
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self._store, b"%020d" % self._offset, head + b"\n" + stored)
        if self._out >= 0:
            await loop.run_in_executor(None, os.write, self._out, body)
        return web.json_response({"accepted": len(times)})

    def _store(self, key: bytes, value: bytes) -> None:
        self._journal.put(key, value, sync=True)


async def serve(port: int, folder: Path, *, has_file: bool) -> None:
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post("/{place:.*}", _Road(folder, has_file=has_file).take)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    keys = tomllib.loads(Path(sys.argv[-1]).read_text("utf-8"))
    uvloop.run(serve(keys["port"], Path(keys["folder"]), has_file=keys["has_file"]))


if __name__ == "__main__":
    main()

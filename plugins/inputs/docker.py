"""Input `docker`: reads the logs of containers, as Docker's driver `json-file` writes them.

Docker cuts long lines in pieces of 16 KiB: they are put together again. Each event has `message`, `stream` and
`container` with `id`, `name` and `image`; its time is that of the container's line.

Delivery: every line enters the journal once; how far each file was read is stored in one write with its events.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import Field

from dpiped.api import (
    Chunk,
    Emit,
    Follower,
    Input,
    Noted,
    PluginConfig,
    Positions,
    TailOptions,
    finish_in_thread,
    register,
)

MAX_PIECES_BYTES = 8 << 20
"""More of one line is not held: it comes in parts."""
BLOCK_BYTES = 1 << 20
POLL_SECS = 0.2
_encode = msgspec.json.Encoder().encode


class DockerConfig(PluginConfig):
    paths: tuple[Annotated[str, Field(min_length=1)], ...] = ("/var/lib/docker/containers/*/*-json.log",)
    """Globs of the log files."""
    exclude: tuple[str, ...] = ()
    """Globs of files to leave out."""
    pieces_secs: Annotated[float, Field(gt=0)] = 5.0
    """So long a line waits for its last piece; then it comes without it."""
    host: str = ""
    """Name of the machine in the events; empty: what the system says."""


class _Line(msgspec.Struct):
    """What Docker writes."""

    log: str = ""
    stream: str = ""
    time: str = ""


@dataclass
class _Held:
    """What was read of one file and is not emitted yet, because a line is not whole."""

    chunks: list[Chunk] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    pieces: dict[str, list[_Line]] = field(default_factory=dict)
    """Stream -> the pieces of its line so far."""
    size: int = 0
    since: float = 0.0


@register("docker")
class DockerInput(Input[DockerConfig]):
    replayable = True
    default_codec = "json"

    async def open(self) -> None:
        options = TailOptions(paths=self.config.paths, exclude=self.config.exclude, max_line_bytes=1 << 20)
        self._follower = Follower(options.follow_options())
        self._host = self.config.host or socket.gethostname()
        self._noted = Noted(self.context.telemetry, self.context.name)
        self._counts: Counter[str] = Counter()
        self._containers: dict[str, dict[str, str]] = {}
        self._held: dict[int, _Held] = {}
        """Of the files by their number."""
        text = self.context.start_position
        self._positions = Positions() if text is None else Positions.parse(text)
        await asyncio.to_thread(self._follower.start, None if text is None else Positions.parse(text))

    async def run(self, emit: Emit) -> None:
        while True:
            chunks = await finish_in_thread(self._follower.step, BLOCK_BYTES)
            for chunk in chunks:
                await self._take(chunk, emit)
            for number, held in list(self._held.items()):
                if time.monotonic() - held.since > self.config.pieces_secs:
                    self._counts["last_piece_missing"] += len(held.pieces)
                    await self._let_go(number, emit)
            self._noted.tell(self._follower.counts + self._counts)
            if not chunks:
                await asyncio.sleep(POLL_SECS)

    async def _take(self, chunk: Chunk, emit: Emit) -> None:
        """Emits what is whole; a line that is not holds what came with it, so that no position is behind it."""
        held = self._held.setdefault(chunk.mark.id, _Held(since=time.monotonic()))
        held.chunks.append(chunk)
        container = await asyncio.to_thread(self._container, chunk.path) if chunk.data else {}
        for line in chunk.data.splitlines():
            self._add(held, line, container)
        if not held.pieces or held.size > MAX_PIECES_BYTES or chunk.gone:
            await self._let_go(chunk.mark.id, emit)

    def _add(self, held: _Held, raw: bytes, container: dict[str, str]) -> None:
        try:
            line = msgspec.json.decode(raw, type=_Line)
        except msgspec.DecodeError:
            self._counts["not_of_docker"] += 1
            held.events.append(raw)  # the intake refuses it, and keeps it in the dead letter
            return
        pieces = held.pieces.setdefault(line.stream, [])
        pieces.append(line)
        held.size += len(raw)
        if line.log.endswith("\n"):
            held.events.append(_event(held.pieces.pop(line.stream), container))

    async def _let_go(self, number: int, emit: Emit) -> None:
        """All that is held of a file, lines without their last piece as well."""
        held = self._held.pop(number)
        path = held.chunks[-1].path
        container = self._containers.get(path, {})
        events = held.events + [_event(pieces, container) for pieces in held.pieces.values()]
        for chunk in held.chunks:
            self._positions.apply(chunk)
        await emit(
            b"".join(event + b"\n" for event in events), source=path, host=self._host, position=self._positions.text()
        )

    def _container(self, path: str) -> dict[str, str]:
        """Of a log file; what Docker has written beside it. Blocking."""
        if path not in self._containers:
            folder = Path(path).parent
            known = {"id": folder.name}
            try:
                config: dict[str, Any] = msgspec.json.decode((folder / "config.v2.json").read_bytes())
                known |= {"name": str(config["Name"]).lstrip("/"), "image": str(config["Config"]["Image"])}
            except (OSError, msgspec.DecodeError, KeyError, TypeError):
                self._counts["container_unknown"] += 1
            self._containers[path] = known
        return self._containers[path]

    async def close(self) -> None:
        if hasattr(self, "_follower"):
            await asyncio.to_thread(self._follower.close)

    def status(self) -> dict[str, object]:
        return {"files": len(self._follower), "open_files": self._follower.open_files, **self._counts}


def _event(pieces: list[_Line], container: dict[str, str]) -> bytes:
    text = "".join(piece.log for piece in pieces).removesuffix("\n").removesuffix("\r")
    event: dict[str, Any] = {"message": text, "stream": pieces[0].stream, "container": container}
    if pieces[0].time:
        event["@timestamp"] = pieces[0].time
    return _encode(event)

"""Input `docker`: follows the JSON-file logs of containers, and joins lines that Docker cut.

Delivery: every line enters the journal once; how far each file was read, and the beginning of a line that was cut, are
stored in one write with the events. Lines that Docker deleted before they were read are lost.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from pydantic import Field, model_validator

from dpiped.api import Chunk, DpipeError, Emit, FollowConfig, FollowInput, register

CONTAINERS = "/var/lib/docker/containers/*/*-json.log"
_ID = re.compile(r"[0-9a-f]{12,64}")
_SHOWN_ID = 12
MOST_KNOWN = 10_000
"""So many paths are remembered."""


class DockerConfig(FollowConfig):
    paths: tuple[str, ...] = Field(default=(CONTAINERS,), min_length=1)
    """Globs of the log files of containers."""

    @model_validator(mode="after")
    def _check_lines(self) -> DockerConfig:
        if self.multiline is not None:
            raise ValueError("multiline: expected none, for lines of Docker stand in JSON")
        return self


class _Line(msgspec.Struct):
    """What Docker writes for each line, or part of one: 16 KiB at most."""

    log: str
    stream: str = ""
    time: str = ""
    attrs: dict[str, Any] | None = None


class _Stored(msgspec.Struct):
    """The position, version 1: that of the files, and file -> stream -> what was read of a line."""

    files: str
    parts: dict[int, dict[str, str]] = {}
    version: int = 1


class Container(msgspec.Struct, frozen=True):
    """What is told of one in its events."""

    container_id: str
    container: str = ""
    """Its name."""
    image: str = ""


class _Event(msgspec.Struct, omit_defaults=True, kw_only=True, rename={"at": "@timestamp"}):
    at: str = ""
    message: str
    stream: str = ""
    container: str = ""
    container_id: str = ""
    image: str = ""
    attrs: dict[str, Any] | None = None


@register("docker")
class DockerInput(FollowInput[DockerConfig]):
    @classmethod
    def idents(cls, config: DockerConfig) -> tuple[str, ...]:
        return ()

    async def open(self) -> None:
        self._containers: dict[str, Container] = {}
        self._newest: dict[str, int] = {}
        """Path -> number of the newest file there; a line may begin in the one before."""
        self._counts: Counter[str] = Counter()
        await super().open()
        self._newest |= {self.path_of(number): number for number in sorted(self._parts)}

    def read_position(self, text: str | None) -> str | None:
        stored = _stored(text)
        self._parts = stored.parts
        return stored.files or None

    def position(self) -> str:
        return msgspec.json.encode(_Stored(super().position(), self._parts)).decode()

    async def take(self, chunk: Chunk, emit: Emit) -> None:
        data = await asyncio.to_thread(self._events, chunk.mark.id, chunk.path, chunk.data, gone=chunk.gone)
        if chunk.data or data:
            await emit(data, source=chunk.path, host=self.host, position=self.position())

    def counts(self) -> Counter[str]:
        return super().counts() + self._counts

    def _events(self, number: int, path: str, data: bytes, *, gone: bool) -> bytes:
        """The events of some lines, as JSON. A line that is no JSON of Docker stays as it is, and is rejected then."""
        if data:
            self._take_over(number, path)
        parts = self._parts.setdefault(number, {})
        container = self._container(path)
        found = []
        for line in data.splitlines():
            try:
                read = msgspec.json.decode(line, type=_Line)
            except msgspec.MsgspecError:
                found.append(line)
                continue
            text = self._shortened(parts.pop(read.stream, "") + read.log)
            if read.log.endswith("\n"):
                found.append(_event(read, text.rstrip("\r\n"), container))
            else:
                parts[read.stream] = text
        if gone:
            found += [_event(_Line(text, stream), text, container) for stream, text in parts.items()]
            parts.clear()
        if not parts:
            del self._parts[number]
        return b"".join([line + b"\n" for line in found])

    def _take_over(self, number: int, path: str) -> None:
        """A line that Docker cut goes on in the file that came after rotation."""
        before = self._newest.get(path, -1)
        if number <= before:
            return
        if len(self._newest) >= MOST_KNOWN:
            self._newest.clear()
        self._newest[path] = number
        if before in self._parts:
            self._parts[number] = self._parts.pop(before) | self._parts.get(number, {})

    def _shortened(self, text: str) -> str:
        if len(text) <= self.config.max_line_bytes:
            return text
        self._counts["line_cut"] += 1
        return text[: self.config.max_line_bytes] + ("\n" if text.endswith("\n") else "")

    def _container(self, path: str) -> Container:
        """Read once for each file, from what Docker keeps beside it."""
        known = self._containers.get(path)
        if known is None:
            if len(self._containers) >= MOST_KNOWN:
                self._containers.clear()
            known = self._containers[path] = _container_of(Path(path))
        return known

    def status(self) -> dict[str, object]:
        return {**super().status(), "unfinished_lines": len(self._parts)}


def _event(line: _Line, text: str, container: Container) -> bytes:
    event = _Event(
        at=line.time,
        message=text,
        stream=line.stream,
        container=container.container,
        container_id=container.container_id,
        image=container.image,
        attrs=line.attrs,
    )
    return msgspec.json.encode(event)


def _container_of(file: Path) -> Container:
    found = _ID.match(file.name)
    number = found[0][:_SHOWN_ID] if found else file.parent.name[:_SHOWN_ID]
    try:
        about = msgspec.json.decode((file.parent / "config.v2.json").read_bytes())
        return Container(number, str(about["Name"]).lstrip("/"), str(about["Config"]["Image"]))
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):  # Docker keeps it to itself, or it is no Docker
        return Container(number)


def _stored(text: str | None) -> _Stored:
    if text is None:
        return _Stored("")
    try:
        stored = msgspec.json.decode(text, type=_Stored)
    except msgspec.MsgspecError as exc:
        raise DpipeError(f"position of containers cannot be read: {exc}") from exc
    if stored.version != 1:
        raise DpipeError(f"position of containers has version {stored.version}: written by a newer dpipe")
    return stored

"""checkpoint.json: where every stream and input stands. Version 2; `check` is the CRC-32 of all that is before it.

    {"version": 2,
     "streams": [{"id": .., "seq": n, "batch": null | {"seq", "nonce", "endpoint", "ranges": [Range, ..]}}, ..],
     "inputs": {NAME: text, ..},"check":"5f3a01c7"}

Version 1 had no check, and is read too; a newer one is refused. A damaged file goes to the quarantine. Then
the streams are new ones, since nobody knows the numbers of the old, files are read from their start and spools from
their oldest block: what was sent before comes again, and nothing is left out.

A batch stands here, synced, before it is first sent, and until it is settled. `inputs` says what was settled: for
files a text as `Positions` writes it, for a spool the next offset. Written to a temporary file, synced, renamed, the
folder synced.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec

from dpiped.errors import DpipeError
from dpiped.files import write_synced
from dpiped.quarantine import Quarantine
from dpiped.sources.tail_marks import FileMark
from dpiped.telemetry import Telemetry

VERSION = 2
CHECK_BYTES = len(b',"check":"12345678"}')
RETRY_SECS = 1.0


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one frame of a batch was made from, so that it can be made again."""

    input: str
    project: str
    ident: str
    source: str
    codec: str
    start: int
    end: int
    """Bytes in the file, or offsets in the spool; half-open."""
    crc: int = 0
    """CRC-32 of the bytes of the file."""
    mark: FileMark | None = None
    """The file after the range; None: the range is one of the spool."""
    gone: bool = False
    """After the range the file is forgotten."""


class SavedBatch(msgspec.Struct, frozen=True):
    """A batch that was sent, or may have been."""

    seq: int
    nonce: str
    endpoint: str
    ranges: list[Range]


class Stream(msgspec.Struct):
    """One lane. The id is random, made with the checkpoint, so a copy of the folder is found out by the daemon
    (409).
    """

    id: str
    seq: int = 0
    """Number of the last batch that was begun."""
    batch: SavedBatch | None = None


class _Version(msgspec.Struct):
    version: int


class _Stored(msgspec.Struct):
    version: int
    streams: list[Stream]
    inputs: dict[str, str]


class Checkpoint:
    """The state in memory, and its file. With `path` None (`send`) nothing is stored."""

    def __init__(self, path: Path | None, telemetry: Telemetry | None = None) -> None:
        self.path = path
        self.streams: list[Stream] = []
        self.inputs: dict[str, str] = {}
        """As loaded."""
        self.providers: dict[str, Callable[[], str]] = {}
        """Input -> what tells its state at the moment of writing."""
        self.lost = False
        """A damaged checkpoint was set aside: this is no first start."""
        self.trouble = ""
        """Why it cannot be written now; empty when all is well."""
        self._telemetry = telemetry or Telemetry()
        self._wanted = 0
        self._written = 0
        self._lock = asyncio.Lock()

    def load(self, parallel: int) -> None:
        """Reads the file, if there is one, and makes sure that there are `parallel` streams.

        Raises DpipeError when a newer version wrote it, OSError when the disk cannot read it.
        """
        if self.path is not None and self.path.exists():
            stored = self._decode(self.path, self.path.read_bytes())
            if stored is not None:
                self.streams, self.inputs = stored.streams, stored.inputs
        while len(self.streams) < parallel:
            self.streams.append(Stream(secrets.token_hex(8)))

    def _decode(self, path: Path, content: bytes) -> _Stored | None:
        try:
            checked = content.endswith(_check(content[:-CHECK_BYTES])) and len(content) > CHECK_BYTES
            version = msgspec.json.decode(content, type=_Version).version
            if version > VERSION and (checked or b'"check"' not in content):
                raise DpipeError(
                    f"{path} has version {version}, this dpipe-collector knows {VERSION}: start the newer one"
                )
            if version != 1 and not checked:
                raise ValueError("its checksum is wrong")  # noqa: TRY301 - handled like all that cannot be read
            return msgspec.json.decode(content, type=_Stored)
        except (ValueError, RecursionError, msgspec.MsgspecError) as exc:
            self._set_aside(path, str(exc))
            return None

    def _set_aside(self, path: Path, reason: str) -> None:
        self.lost = True
        Quarantine(path.parent, self._telemetry).take(path, reason)
        text = "the checkpoint is damaged: new streams are begun, and files and spools read from their start"
        self._telemetry.say(text, detail="what was sent before comes again", level=logging.ERROR)

    def encode(self) -> bytes:
        """The file as it would be written now. An input that left the config keeps what it had."""
        told = {name: provider() for name, provider in self.providers.items()}
        stored = msgspec.json.encode(_Stored(VERSION, self.streams, {**self.inputs, **told}))[:-1]
        return stored + _check(stored)

    async def save(self) -> None:
        """Returns when the state at the time of the call, or a later one, is on disk: a disk that refuses is tried
        until it takes it. Calls that come while one is written share the next write.
        """
        while True:
            try:
                await self.save_once()
            except OSError as exc:
                self._tell(exc)
                await asyncio.sleep(RETRY_SECS)
            else:
                return

    async def save_once(self) -> None:
        """The same, one try. Raises OSError."""
        self._wanted += 1
        mine = self._wanted
        async with self._lock:
            if self._written >= mine or self.path is None:
                return
            covered = self._wanted
            await asyncio.to_thread(write_synced, self.path, self.encode())
            self._written = covered
        if self.trouble:
            self.trouble = ""
            self._telemetry.say("the checkpoint can be written again")

    def _tell(self, exc: OSError) -> None:
        if not self.trouble:
            detail = f"{self.path}: {exc.strerror or exc}; nothing new is sent until it works again"
            self._telemetry.say("the checkpoint cannot be written", detail=detail, level=logging.ERROR)
        self.trouble = f"the checkpoint cannot be written: {exc.strerror or exc}"


def _check(content: bytes) -> bytes:
    """The end of the file."""
    return b',"check":"%08x"}' % crc32(content)

"""Input `journald`: follows the journal of systemd by `journalctl`.

Delivery: every entry enters the journal once; the cursor of the last one is stored in one write with the events. What
systemd has vacuumed before it was read is lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from dpiped.api import (
    FACILITIES,
    SYSLOG_SEVERITIES,
    Emit,
    FatalPluginError,
    Host,
    Input,
    LineCutter,
    PluginConfig,
    TemporaryError,
    register,
)

BLOCK_BYTES = 1 << 20
MAX_ENTRY_BYTES = 8 << 20
END_SECS = 2.0
NAMES = {
    "MESSAGE": "message",
    "PRIORITY": "severity",
    "SYSLOG_FACILITY": "facility",
    "SYSLOG_IDENTIFIER": "appname",
    "_PID": "procid",
    "_SYSTEMD_UNIT": "unit",
    "_HOSTNAME": "host",
    "_TRANSPORT": "transport",
}
"""Field of systemd -> field of the event; as the codec `syslog` calls them, where it has them."""
WORDS = {"PRIORITY": SYSLOG_SEVERITIES, "SYSLOG_FACILITY": FACILITIES}
"""Fields whose numbers become the words that the codec `syslog` has for them."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class JournaldConfig(PluginConfig):
    units: tuple[str, ...] = Field(default=(), examples=[["nginx.service"]])
    """Only entries of these units; empty: all."""
    matches: tuple[str, ...] = Field(default=(), examples=[["_TRANSPORT=kernel"]])
    """Only entries with these fields, as `journalctl` takes them."""
    directory: str = Field(default="", examples=["/var/log/journal"])
    """Folder of the journal; empty: that of the system."""
    read_from: Literal["start", "end"] = "start"
    """Where to begin at the very first start."""
    follow: bool = True
    """False: read what is there, then end."""
    all_fields: bool = False
    """The other fields of an entry are kept, too, under their own names."""
    command: str = "journalctl"
    """The program."""
    host: Host = ""
    """Name of the machine in the events; empty: what the system says."""


@register("journald")
class JournaldInput(Input[JournaldConfig]):
    replayable: ClassVar[bool] = True

    @classmethod
    def check(cls, config: JournaldConfig) -> list[str]:
        wrong = [text for text in (*config.units, *config.matches) if text.startswith("-") or "\0" in text]
        wrong += [text for text in config.matches if "=" not in text and text != "+"]
        return [f"units, matches: {text!r} is no unit or FIELD=VALUE" for text in wrong]

    @classmethod
    def idents(cls, config: JournaldConfig) -> tuple[str, ...]:
        return ()

    def command(self, *words: str) -> list[str]:
        """What is run, with some words of its own."""
        config = self.config
        folder = [f"--directory={config.directory}"] if config.directory else []
        return [config.command, "--output=json", "--no-pager", "--quiet", "--all", *folder, *words]

    def reading(self, cursor: str | None) -> list[str]:
        """What reads all that is wanted, from the start or behind a cursor."""
        config = self.config
        follow = ["--follow", "--no-tail"] if config.follow else []
        behind = [f"--after-cursor={cursor}"] if cursor else []
        return self.command(*follow, *behind, *(f"--unit={unit}" for unit in config.units), *config.matches)

    async def run(self, emit: Emit) -> None:
        cursor = self.context.start_position
        host = self.config.host or socket.gethostname()
        if cursor is None and self.config.read_from == "end":
            cursor = await self._last_cursor()
            if cursor is not None:  # else a restart before the first entry would begin at a later end
                await emit(b"", position=cursor)
        process = await self._start(self.reading(cursor))
        complaint = asyncio.create_task(_last_line(process.stderr), name="journalctl errors")
        try:
            await self._read(process.stdout, emit, host)
            status = await process.wait()
            if status or self.config.follow:
                raise TemporaryError(f"{self.config.command} ended with status {status}: {await complaint}")
        finally:
            await _end(process)
            complaint.cancel()
            await asyncio.wait((complaint,))

    async def _start(self, command: Sequence[str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, limit=BLOCK_BYTES
            )
        except OSError as exc:
            raise FatalPluginError(f"{self.config.command} cannot be run: {exc.strerror}") from exc

    async def _last_cursor(self) -> str | None:
        """That of the newest entry, wanted or not; None when there is none yet."""
        process = await self._start(self.command("--lines=1"))
        try:
            entry, complaint = await process.communicate()
        finally:
            await _end(process)
        if process.returncode:
            raise TemporaryError(f"{self.config.command} ended with status {process.returncode}: {_last_of(complaint)}")
        return self._events(entry.splitlines())[1]

    async def _read(self, stdout: asyncio.StreamReader | None, emit: Emit, host: str) -> None:
        assert stdout is not None  # it was asked for
        cutter = LineCutter(MAX_ENTRY_BYTES)
        while data := await stdout.read(BLOCK_BYTES):
            entries = cutter.feed(data)
            if entries:
                events, cursor = await asyncio.to_thread(self._events, entries.splitlines())
                await emit(events, source="journald", host=host, position=cursor)

    def _events(self, entries: Sequence[bytes]) -> tuple[bytes, str | None]:
        """(events as JSON, cursor of the last one). What is no JSON of journalctl stays, and is rejected then."""
        found, cursor = [], None
        for entry in entries:
            try:
                fields = _decode(entry)
            except msgspec.MsgspecError:
                found.append(entry)
                continue
            cursor = fields.get("__CURSOR", cursor)
            found.append(msgspec.json.encode(self._event(fields)))
        return b"".join([line + b"\n" for line in found]), cursor

    def _event(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        event: dict[str, Any] = {}
        stamp = str(fields.get("__REALTIME_TIMESTAMP", ""))
        if stamp.isdigit():
            event["@timestamp"] = int(stamp) // 1000
        for theirs, ours in NAMES.items():
            value = fields.get(theirs)
            if value is not None:
                text, words = _text(value), WORDS.get(theirs, ())
                known = text.isdecimal() and len(text) < 3 and int(text) < len(words)
                event[ours] = words[int(text)] if known else text
        if self.config.all_fields:
            event |= {name: _text(value) for name, value in fields.items() if name not in NAMES and value is not None}
        return event


def _text(value: Any) -> str:
    """journalctl writes a value with unprintable bytes as a list of numbers, and several values as a list."""
    if isinstance(value, list):
        if all(isinstance(one, int) and 0 <= one < 256 for one in value):
            return bytes(value).decode("utf-8", "replace")
        return "\n".join(_text(one) for one in value)
    return str(value)


async def _last_line(stream: asyncio.StreamReader | None) -> str:
    """What the program complained of last; read to its end, so that it never waits for us."""
    last = b""
    while stream is not None and (data := await stream.read(4096)):
        last = (last + data)[-4096:]
    return _last_of(last)


def _last_of(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asks it to end, and makes it."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(END_SECS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

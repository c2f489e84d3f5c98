"""Input `journald`: reads the journal of systemd through `journalctl`.

Each event has `message`, `host`, `appname`, `procid`, `severity`, `facility` and `unit`, as far as the entry has them;
its time is when journald received it.

Delivery: every entry enters the journal once; the cursor of the last one is stored in one write with its events.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from asyncio.subprocess import PIPE, Process
from collections import Counter
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from dpiped.api import Emit, FatalPluginError, Input, Noted, PluginConfig, TemporaryError, register

SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "console", "cron2", *(f"local{number}" for number in range(8))),
)
BLOCK_BYTES = 1 << 20
LONGEST_ENTRY_BYTES = 8 << 20
GATHER_SECS = 0.05
"""So long entries are gathered after the first."""
_COMMON = {"_HOSTNAME": "host", "SYSLOG_IDENTIFIER": "appname", "_PID": "procid", "_SYSTEMD_UNIT": "unit"}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class JournaldConfig(PluginConfig):
    units: tuple[str, ...] = Field(default=(), examples=[["nginx.service"]])
    """Only of these units; by default of all."""
    priority: Literal["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"] | None = Field(
        default=None, examples=["warning"]
    )
    """Only entries that are at least so severe."""
    read_from: Literal["start", "end"] = "end"
    """Where to begin at the very first start."""
    fields: Literal["common", "all"] = "common"
    """`all`: the fields of the entry come as they are, in `journald`."""
    directory: str = Field(default="", examples=["/var/log/journal/remote"])
    """Folder of journal files; by default those of this machine."""
    command: Annotated[str, Field(min_length=1)] = "journalctl"
    """The program that is started."""


@register("journald")
class JournaldInput(Input[JournaldConfig]):
    replayable = True
    default_codec = "json"
    _process: Process | None = None

    async def open(self) -> None:
        if shutil.which(self.config.command) is None:
            raise FatalPluginError(f"{self.config.command} is not here: is this a machine with systemd?")
        self._noted = Noted(self.context.telemetry, self.context.name)
        self._counts: Counter[str] = Counter()
        self._cursor = self.context.start_position or ""

    async def run(self, emit: Emit) -> None:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command(), stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, limit=LONGEST_ENTRY_BYTES
        )
        assert process.stdout is not None
        assert process.stderr is not None
        said = asyncio.create_task(process.stderr.read(4096), name="journalctl stderr")
        try:
            while lines := await self._gather(process.stdout):
                body = b"".join(event for event in map(self._event, lines) if event)
                await emit(body, position=self._cursor)
                self._noted.tell(self._counts)
            status = await process.wait()
            reason = (await said).decode("utf-8", "replace").strip().partition("\n")[0]
            raise TemporaryError(f"{self.config.command} ended with status {status}: {reason or 'it says nothing'}")
        finally:
            said.cancel()
            await asyncio.wait((said,))

    def _command(self) -> list[str]:
        config = self.config
        command = [config.command, "--output=json", "--follow", "--no-pager", "--quiet"]
        command += [f"--unit={unit}" for unit in config.units]
        command += [f"--priority={config.priority}"] if config.priority else []
        command += [f"--directory={config.directory}"] if config.directory else []
        if self._cursor:
            return [*command, f"--after-cursor={self._cursor}", "--lines=all"]
        return [*command, "--lines=all" if config.read_from == "start" else "--lines=0"]

    def _event(self, line: bytes) -> bytes:
        """An entry as an event, one line; empty if it is none."""
        try:
            entry = _decode(line)
            cursor, stamp = str(entry["__CURSOR"]), int(entry["__REALTIME_TIMESTAMP"]) // 1000
        except (msgspec.DecodeError, KeyError, ValueError, TypeError):
            self._counts["not_an_entry"] += bool(line.strip())
            return b""
        self._cursor = cursor
        event: dict[str, Any] = {"@timestamp": stamp, "message": _text(entry.get("MESSAGE"))}
        event |= {name: _text(entry[field]) for field, name in _COMMON.items() if entry.get(field) is not None}
        for field, name, words in (("PRIORITY", "severity", SEVERITIES), ("SYSLOG_FACILITY", "facility", FACILITIES)):
            number = _text(entry.get(field))
            if number.isdigit() and int(number) < len(words):
                event[name] = words[int(number)]
        if self.config.fields == "all":
            event["journald"] = {name: value for name, value in entry.items() if name != "MESSAGE"}
        return _encode(event) + b"\n"

    async def _gather(self, reader: asyncio.StreamReader) -> list[bytes]:
        """What is there, at least one line; empty at the end."""
        lines = [await self._line(reader)]
        size = len(lines[0])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECS):
                while lines[-1] and size < BLOCK_BYTES:
                    lines.append(await self._line(reader))
                    size += len(lines[-1])
        return [line for line in lines if line]

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        """Empty at the end; a blank one for an entry that is too long."""
        try:
            return await reader.readline()
        except ValueError:
            self._counts["entry_too_long"] += 1
            return b"\n"

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()

    def status(self) -> dict[str, object]:
        return {"cursor": self._cursor, **self._counts}


def _text(value: Any) -> str:
    """Journald gives bytes that are no UTF-8 as a list of numbers, and a field that comes twice as a list of texts."""
    if isinstance(value, list):
        if all(isinstance(one, int) and 0 <= one < 256 for one in value):
            return bytes(value).decode("utf-8", "replace")
        return ", ".join(map(str, value))
    return "" if value is None else str(value)

"""The runner of an input: opens it, lets it run, starts it again when it fails, knows when it has ended for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

from dpiped.backoff import Backoff
from dpiped.codecs import build_codec
from dpiped.codecs.base import Codec
from dpiped.config.schema import InputOptions, PluginTable
from dpiped.errors import CodecError, FatalPluginError, TemporaryError
from dpiped.intake import Intake
from dpiped.plugin import Input, PluginContext
from dpiped.runner import (
    RESTART_INITIAL_SECS,
    RESTART_MAX_SECS,
    Status,
    Surroundings,
    close_plugin,
    one_line,
)
from dpiped.telemetry.events import PluginFailed


class InputRunner:
    """One input. `run` is its task; it returns when the input has ended."""

    def __init__(
        self,
        table: PluginTable[InputOptions],
        around: Surroundings,
        projects: Mapping[str, frozenset[str]],
        *,
        durable: bool,
    ) -> None:
        self.table = table
        self.name = table.name
        self.around = around
        self._projects = projects
        self._durable = durable
        self._input_class = cast("type[Input[Any]]", table.plugin_class)
        self._codecs: dict[str, Codec] = {}
        self.status: Status = "disabled" if table.options.disabled else "starting"
        self.last_error = ""
        self.ended = table.options.disabled
        self._plugin: Input[Any] | None = None
        self.unread = 0
        """Sources that could not be read to their end."""
        options = table.options
        codec = build_codec(options.codec) if options.codec else self._codec_of(self._input_class.default_codec)
        self._codec = codec
        said = "keep_old" in options.model_fields_set
        keeps_old = options.keep_old if said else self._input_class.default_keep_old
        self.intake = Intake(
            self.name,
            journal=around.journal,
            router=around.router,
            deadletters=around.deadletters,
            telemetry=around.telemetry,
            project=options.project,
            ident=options.ident,
            codec=codec,
            codec_of=self._codec_of,
            time_spec=options.time,
            keep_old=keeps_old,
            max_event_bytes=options.max_event_bytes,
            project_logs=around.project_logs,
        )

    def _codec_of(self, name: str) -> Codec:
        """The codec of a name that a sender gave; the input's own options if it is the input's own codec."""
        options = self.table.options
        if options.codec is not None and getattr(options.codec, "type", "") == name:
            return self._codec
        codec = self._codecs.get(name)
        if codec is None:
            try:
                codec = self._codecs[name] = build_codec(name)
            except ValueError as exc:  # unknown, or not to be used without options
                raise CodecError(f"no codec {name!r} without options in the config of the input") from exc
        return codec

    async def open(self) -> None:
        """The first opening: what fails here for good keeps the daemon from starting; the rest `run` tries again."""
        if self.ended:
            return
        try:
            await self._open()
        except TemporaryError as exc:
            self.last_error = one_line(exc)

    async def _open(self) -> None:
        journal, state = self.around.journal, self.around.state
        place = journal.marks.positions.get(self.name) if self._durable else state.position(self.name)
        context = PluginContext(
            name=self.name,
            telemetry=self.around.telemetry,
            data_dir=self.around.data_dir,
            durable=self._durable,
            start_position=place,
            codec=self._codec_of,
            own_codec=self._codec,
            projects=self._projects,
        )
        plugin = self._input_class(self.table.config, context)
        try:
            await plugin.open()
        except BaseException:
            await close_plugin(plugin, self.name, self.around.telemetry)
            raise
        self._plugin = plugin

    def renew(self) -> bool:
        """At a reload that leaves its table as it is; see Plugin.renew."""
        return self._plugin is None or self._plugin.renew()

    async def run(self) -> None:
        """Supervises until the input ends or the task is cancelled."""
        backoff = Backoff(RESTART_INITIAL_SECS, RESTART_MAX_SECS)
        while not self.ended:
            started = time.monotonic()
            try:
                await self._session()
            except asyncio.CancelledError:
                self.status = "stopped"
                raise
            except Exception as exc:
                if time.monotonic() - started > RESTART_MAX_SECS:
                    backoff.reset()
                fatal = isinstance(exc, FatalPluginError)
                await self._pause(exc, None if fatal else backoff.secs_after(exc))
            else:
                self.ended, self.status = True, "stopped"

    async def _session(self) -> None:
        await self.around.journal.settle(self.name)
        if self._plugin is None:
            await self._open()
        plugin = cast("Input[Any]", self._plugin)
        self.status, self.last_error = "running", ""
        try:
            await plugin.run(self.intake)
            self.unread = plugin.unread
        finally:
            self._plugin = None
            await close_plugin(plugin, self.name, self.around.telemetry)

    async def _pause(self, exc: Exception, again_secs: float | None) -> None:
        self.last_error = one_line(exc)
        self.status = "retrying" if again_secs is not None else "failed"
        self.around.telemetry.emit(PluginFailed(plugin=self.name, error=self.last_error, again_secs=again_secs))
        if again_secs is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(again_secs)

    def report(self) -> dict[str, object]:
        """For `/admin/stat` and the dump of USR1."""
        details = self._plugin.status() if self._plugin is not None else {}
        return {
            "name": self.name,
            "kind": "input",
            "type": self.table.type,
            "status": self.status,
            "events": self.intake.events,
            "rejected": self.intake.rejected,
            "last_error": self.last_error,
            **details,
        }

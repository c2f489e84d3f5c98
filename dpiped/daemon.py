"""One daemon as a process: event loop, signals, exit codes. `dpiped run` calls it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import uvloop

import dpiped.codecs.lines  # noqa: F401 - numpy is loaded at the start, not with the first event
from dpiped.config.schema import DaemonConfig
from dpiped.descriptors import raise_limit
from dpiped.engine import Engine
from dpiped.errors import ConfigError, DpipeError, first_error
from dpiped.exit_code import ExitCode
from dpiped.lock import UMASK
from dpiped.memory import keep_memory, settle_garbage
from dpiped.reload import reload_file
from dpiped.telemetry import Telemetry
from dpiped.watchdog import Watchdog


def run_daemon(config: DaemonConfig, config_path: Path) -> int:
    """Runs until a signal or the end of all inputs; returns the exit code. What goes wrong at start is one line."""

    def make(telemetry: Telemetry) -> Engine:
        for warning in config.warnings:
            telemetry.say("warning of the config", detail=warning, level=logging.WARNING)
        return Engine(config, telemetry, config_path)

    return run_engine(make)


def run_engine(make: Callable[[Telemetry], Engine]) -> int:
    """The same for any engine; `make` is called once."""
    keep_memory()
    raise_limit()
    os.umask(UMASK)
    telemetry = Telemetry()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            unread = runner.run(_run(make, telemetry))
    except (DpipeError, OSError, ExceptionGroup) as exc:
        cause = first_error(exc)
        if not isinstance(cause, DpipeError | OSError):
            raise
        telemetry.say(f"cannot run: {cause}", level=logging.ERROR)
        return ExitCode.of(cause)
    return ExitCode.UNREAD if unread else ExitCode.DONE


class _Signals:
    """What signals do to an engine: TERM and INT stop, HUP reloads, USR1 dumps."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hup)
        loop.add_signal_handler(signal.SIGUSR1, self._dump)

    def _stop(self) -> None:
        if self._engine.stopping.is_set():
            os._exit(ExitCode.FAILED)  # a second signal: at once, which is safe too
        self._engine.telemetry.say("stopping: inputs stop, outputs drain; a second signal stops at once")
        self._engine.stop()

    def _hup(self) -> None:
        task = asyncio.create_task(self._reload(), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        with suppress(ConfigError):  # it is told
            await reload_file(self._engine)

    def _dump(self) -> None:
        for line in self._engine.report():
            detail = msgspec.json.encode(line).decode()
            self._engine.telemetry.say("runner", plugin=str(line.get("name", "")), detail=detail)

    async def close(self) -> None:
        """A reload under way is ended."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _run(make: Callable[[Telemetry], Engine], telemetry: Telemetry) -> int:
    """Returns how many sources could not be read."""
    engine = make(telemetry)
    config = engine.config
    signals = _Signals(engine)
    watchdog = Watchdog(engine.watch, Path(config.engine.data_dir), config.engine.hang_secs)
    watchdog.start()
    settled = asyncio.create_task(_settle(engine), name="settle")
    try:
        await engine.run()
    finally:
        settled.cancel()
        await signals.close()
        watchdog.stop()
    telemetry.say("stopped")
    return sum(source.unread for source in engine.inputs)


async def _settle(engine: Engine) -> None:
    await engine.started.wait()
    settle_garbage()

"""One daemon as a process: event loop, signals, exit codes. `dpiped run` calls it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import msgspec
import uvloop

import dpiped.codecs.lines  # noqa: F401 - numpy is loaded at the start, not with the first event
from dpiped.config.schema import DaemonConfig
from dpiped.engine import Engine
from dpiped.errors import ConfigError, DpipeError, LockedError
from dpiped.memory import keep_memory, settle_garbage
from dpiped.telemetry import Telemetry
from dpiped.watchdog import Watchdog

DONE, FAILED, CONFIG, LOCKED, UNREAD, WATCHDOG = 0, 1, 2, 3, 4, 5
"""Exit codes, DESIGN section 6."""


def run_daemon(config: DaemonConfig, config_path: Path) -> int:
    """Runs until a signal or the end of all inputs; returns the exit code. What goes wrong at start is one line."""
    keep_memory()
    telemetry = Telemetry()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(config, telemetry))
    except (DpipeError, OSError, ExceptionGroup) as exc:
        cause = _leaf(exc)
        if not isinstance(cause, DpipeError | OSError):
            raise
        telemetry.say(f"cannot run: {cause}", level=logging.ERROR)
        return LOCKED if isinstance(cause, LockedError) else CONFIG if isinstance(cause, ConfigError) else FAILED
    return DONE


def _leaf(exc: BaseException) -> BaseException:
    """The first real error in nested groups."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


async def _run(config: DaemonConfig, telemetry: Telemetry) -> None:
    engine = Engine(config, telemetry)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if engine.stopping.is_set():
            os._exit(FAILED)  # a second signal: at once, which is safe too
        telemetry.say("stopping: inputs stop, outputs drain; a second signal stops at once")
        engine.stop()

    def dump() -> None:
        for line in engine.report():
            telemetry.say("runner", plugin=str(line.get("name", "")), detail=msgspec.json.encode(line).decode())

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGUSR1, dump)
    watchdog = Watchdog(engine.watch, Path(config.engine.data_dir), config.engine.hang_secs)
    watchdog.start()
    settled = asyncio.create_task(_settle(engine), name="settle")
    try:
        await engine.run()
    finally:
        settled.cancel()
        watchdog.stop()
    telemetry.say("stopped")


async def _settle(engine: Engine) -> None:
    await engine.started.wait()
    settle_garbage()

"""A reload: the running daemon becomes what a new, checked config says. Only what changed is ended and started.

Unchanged inputs keep their sockets, unchanged runners their cursors and plugins. A runner that left the config holds
nothing any more, but its cursor stays in the state. `[engine]`, `[journal]` and `[deadletter]` take effect at the next
start. What is kept takes its certificates again, for new connections, also when no word of the config is another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dpiped.config.doors import listen_of
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import DaemonConfig, PluginTable
from dpiped.errors import ConfigError, DpipeError
from dpiped.web.handover import handing_over

if TYPE_CHECKING:
    from dpiped.engine import Engine
    from dpiped.input_runner import InputRunner
    from dpiped.runner import Runner


async def reload_file(engine: Engine) -> list[str]:
    """Reads the engine's config again and applies it. When it is wrong it tells why in the log, changes nothing, and
    raises ConfigError.
    """
    try:
        if engine.config_path is None:
            raise ConfigError(["this daemon was started without a config file"])  # noqa: TRY301 - told like others
        config = await asyncio.to_thread(load_daemon_config, engine.config_path)
        changes = await engine.reload(config)
    except ConfigError as exc:
        for problem in exc.problems:
            engine.telemetry.say("the old config stays", detail=problem, level=logging.ERROR)
        raise
    engine.telemetry.say("reloaded", detail="; ".join(changes) or "nothing changed")
    return changes


async def apply_config(engine: Engine, config: DaemonConfig) -> list[str]:
    """What changed, a line each. Called under `engine.changing`; the config was checked as a whole."""
    old = engine.config
    said = [
        f"[{name}] changed: that takes effect at the next start"
        for name in ("engine", "journal", "deadletter")
        if getattr(engine.first_config, name) != getattr(config, name)
    ]
    same_projects = old.tokens_of_projects() == config.tokens_of_projects()
    inputs = {source.name: source for source in engine.inputs if same_projects and _is_in(source.table, config.inputs)}
    runners = {
        runner.name: runner for runner in engine.runners if _is_in(runner.table, (*config.filters, *config.outputs))
    }
    said += [*_renew(inputs), *_renew(runners), *await _renew_admin(engine)]
    said += _differences(engine, config, {*inputs, *runners})
    with handing_over(_kept_addresses(old, config)):
        await _end(engine, inputs, runners)
    try:
        await _begin(engine, config, inputs, runners)
    except Exception as exc:
        await _begin(engine, old, inputs, runners)
        raise ConfigError([f"what changed cannot be started: {type(exc).__name__}: {exc}"]) from exc
    return said


def _is_in(table: PluginTable[Any], tables: Iterable[PluginTable[Any]]) -> bool:
    """Whether a table of the new config says the very same."""
    return any(
        (table.kind, table.options, table.plugin_class, table.config)
        == (other.kind, other.options, other.plugin_class, other.config)
        for other in tables
    )


def _kept_addresses(old: DaemonConfig, new: DaemonConfig) -> set[str]:
    """Where the same class of input listens before and after."""
    before, after = (
        {(table.plugin_class, listen_of(table)) for table in config.inputs if not table.options.disabled}
        for config in (old, new)
    )
    return {listen for _, listen in before & after if listen is not None}


class _Renewable(Protocol):
    def renew(self) -> bool: ...


R = TypeVar("R", bound=_Renewable)


def _renew(kept: dict[str, R]) -> list[str]:
    """Those that cannot take their files while they run are no longer kept, so that they start again."""
    said = []
    for name, runner in list(kept.items()):
        try:
            if not runner.renew():
                del kept[name]
        except DpipeError as exc:
            said.append(f"{name}: the old file stays in use: {exc}")
    return said


async def _renew_admin(engine: Engine) -> list[str]:
    try:
        if engine.admin is not None:
            await engine.admin.renew()
    except DpipeError as exc:
        return [f"[engine] admin: the old certificate stays: {exc}"]
    except OSError as exc:  # it was bound anew, to forget an authority
        return [f"[engine] admin: is not reached any more, start the daemon again: {exc.strerror or exc}"]
    return []


def _differences(engine: Engine, config: DaemonConfig, kept: set[str]) -> list[str]:
    before = {source.name for source in engine.inputs} | {runner.name for runner in engine.runners}
    after = {table.name for table in config.tables}
    return [
        *(f"{name} ended" for name in sorted(before - after)),
        *(f"{name} added" for name in sorted(after - before)),
        *(f"{name} changed" for name in sorted((before & after) - kept)),
    ]


async def _end(engine: Engine, inputs: dict[str, InputRunner], runners: dict[str, Runner[Any]]) -> None:
    for source in [source for source in engine.inputs if source.name not in inputs]:
        await engine.end_task(source)
    for runner in [runner for runner in engine.runners if runner.name not in runners]:
        await engine.end_task(runner)
        await engine.journal.settle(runner.name)
        engine.router.remove(runner.name)
        runner.reader.rewind(engine.journal.next)  # gives back the packs it held


async def _begin(
    engine: Engine, config: DaemonConfig, inputs: dict[str, InputRunner], runners: dict[str, Runner[Any]]
) -> None:
    """Starts what is not kept; nothing of it, if it raises. The freeing of room waits until new and returned runners
    have their place.
    """
    engine.config = config
    engine.use_projects()
    new_inputs = [engine.build_input(table, config) for table in config.inputs if table.name not in inputs]
    new_runners: list[Runner[Any]] = []
    try:
        await _line_up(engine, runners, new_runners)
    except BaseException:
        for runner in new_runners:
            engine.router.remove(runner.name)
        raise
    fresh = {source.name: source for source in new_inputs}
    engine.inputs[:] = [inputs.get(table.name) or fresh[table.name] for table in config.inputs]
    for runner in new_runners:
        engine.start_runner(runner)
    for source in new_inputs:
        engine.start_input(source)


async def _line_up(engine: Engine, runners: dict[str, Runner[Any]], new_runners: list[Runner[Any]]) -> None:
    """Builds and attaches the runners that are not kept, and notes them in `new_runners`."""
    config = engine.config
    async with engine.janitor.paused():
        line_up: list[Runner[Any]] = []
        for table in (*config.filters, *config.outputs):
            runner = runners.get(table.name)
            if runner is None:
                runner = engine.build_runner(table)
                new_runners.append(runner)
                await runner.attach()
            line_up.append(runner)
        engine.runners[:] = line_up
    await engine.janitor.note_left()

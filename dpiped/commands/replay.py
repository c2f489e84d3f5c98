"""`dpiped replay`: runs the filters and outputs of a config over what a journal still holds."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpiped.arguments import place
from dpiped.commands.journal import range_of
from dpiped.commands.run import start_logging
from dpiped.config.load import load_daemon_config
from dpiped.config.schema import DaemonConfig
from dpiped.errors import ConfigError
from dpiped.exit_code import ExitCode

if TYPE_CHECKING:
    from dpiped.journal.playback import Playback
    from dpiped.replay import ReplayEngine


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the parser."""
    replay = commands.add_parser("replay", parents=[common], help="run a config over what a journal still holds")
    replay.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="its filters and outputs run")
    replay.add_argument("--data-dir", type=Path, metavar="DIR", help="whose journal; by default as the config says")
    replay.add_argument(
        "--from", dest="start", type=place, metavar="TIME|OFFSET", help="from here on; by default the oldest pack"
    )
    replay.add_argument("--to", dest="end", type=place, metavar="TIME|OFFSET", help="up to here, without it")
    replay.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="keep the replay's own data here, to go on after a stop"
    )
    replay.set_defaults(command=replay_command)


def replay_command(arguments: argparse.Namespace) -> int:
    """Until everything is delivered; status 4 when some packs were damaged, 1 when a runner failed."""
    config = load_daemon_config(arguments.config)
    data_dir = arguments.data_dir or Path(config.engine.data_dir)
    if not config.filters and not config.outputs:
        raise ConfigError([f"{arguments.config}: there is no [[filter]] and no [[output]] to replay into"])
    if arguments.work_dir is not None and arguments.work_dir.resolve() == data_dir.resolve():
        raise ConfigError(["dpiped: --work-dir is the data_dir that is replayed: name another folder"])
    bounds = range_of(arguments)
    start_logging(arguments)
    if arguments.data_dir is None and config.outputs:
        text = "the config is that of the data_dir itself: its outputs deliver again what they have delivered"
        print(f"warning: {text}; a config of its own and --data-dir {data_dir} do not", file=sys.stderr)
    from dpiped.journal.playback import open_playback  # here, so that the other commands start fast

    names = [table.name for table in (*config.filters, *config.outputs)]
    played = open_playback(data_dir, names, *bounds)
    try:
        if arguments.work_dir is not None:
            return _run(config, arguments.work_dir, played)[0]
        return _run_in_temporary(config, played)
    finally:
        played.close()


def _run_in_temporary(config: DaemonConfig, played: Playback) -> int:
    """The folder is deleted, unless events were refused: then they are in it."""
    work_dir = Path(tempfile.mkdtemp(prefix="dpiped-replay-"))
    kept = False
    try:
        status, letters = _run(config, work_dir, played)
        kept = letters > 0
        return status
    finally:
        if not kept:
            shutil.rmtree(work_dir, ignore_errors=True)


def _run(config: DaemonConfig, work_dir: Path, played: Playback) -> tuple[int, int]:
    """(status, refused events)."""
    from dpiped.daemon import run_engine
    from dpiped.replay import ReplayEngine, replay_config

    engines: list[ReplayEngine] = []

    def make(telemetry: Any) -> ReplayEngine:
        engines.append(ReplayEngine(replay_config(config, work_dir), telemetry, played))
        return engines[0]

    status = run_engine(make)
    if status or not engines[0].inputs:
        return status or ExitCode.FAILED, 0
    return _summary(engines[0], work_dir, played)


def _summary(engine: ReplayEngine, work_dir: Path, played: Playback) -> tuple[int, int]:
    """Told on standard error, since outputs may use the other."""
    source, letters = engine.source, engine.around.deadletters.count
    where = f", offsets {source.first} to {source.last}" if source.packs else ": there was nothing more to read"
    lines = [f"replayed {source.packs} packs, {source.events} events{where}"]
    if source.went_on is not None:
        lines.append(f"it went on behind offset {source.went_on}, which {work_dir} had come to")
    lines += [
        f"{runner.table.kind} {runner.name}: {runner.packs} packs, {runner.events} events" for runner in engine.runners
    ]
    if played.gone:
        lines.append(f"{played.gone} offsets of the range had been given back; `[journal] keep_secs` keeps them")
    lines += [f"left out: {text}" for text in played.damage]
    lines += [f"failed: {text}" for text in engine.failed]
    if letters:
        lines.append(f"{letters} events were refused: see `dpiped deadletter ls --data-dir {work_dir}`")
    if not source.ended:
        lines.append("stopped before the end; with --work-dir the same command goes on")
    print(*lines, sep="\n", file=sys.stderr)
    if engine.failed or not source.ended:
        return ExitCode.FAILED, letters
    return ExitCode.UNREAD if played.damage else ExitCode.DONE, letters

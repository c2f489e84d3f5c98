"""The command `dpipe-collector`: run, check, send.

Status: 0 done, 1 failed, 2 config or arguments, 3 data_dir or stream used by another.
"""

from __future__ import annotations

import argparse
import asyncio
import glob
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from pydantic import SecretStr, ValidationError

from collector.checkpoint import Checkpoint
from collector.collector import Collector
from collector.config import CollectorConfig, Config, Input, StdinInput, TailInput, check_endpoint, load
from collector.confirm import ConfirmFeed
from collector.feed import Feed
from collector.giving_up import until_hopeless
from dpiped.arguments import secs, secs_or_none
from dpiped.command_line import Parser, common_options, run_command_line
from dpiped.config.fields import secrets_of
from dpiped.descriptors import raise_limit
from dpiped.errors import ConfigError, DpipeError
from dpiped.exit_code import ExitCode
from dpiped.hidden import hide
from dpiped.lock import UMASK
from dpiped.sources.tail_scan import PACKED
from dpiped.telemetry import Telemetry
from dpiped.telemetry.log import setup_logging
from dpiped.tls import ClientTls

STOP_SECS = 5.0
CONFIRM_BATCH_SECS = 0.001
"""With --confirm the other side waits for each answer: nothing is gained by waiting for more."""


def build_parser() -> Parser:
    """The parser with all commands; each sets `command`, a function of the arguments that returns the exit status."""
    common = common_options()
    parser = Parser(
        prog="dpipe-collector",
        parents=[common],
        description="Reads files, syslog and standard input, and sends them to dpiped, with nothing lost.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    run = commands.add_parser("run", parents=[common], help="collect as the config says")
    run.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="config file, or folder of them")
    run.set_defaults(command=run_command)
    check = commands.add_parser("check", parents=[common], help="find all errors of a config; status 2 if there are")
    check.add_argument("configs", type=Path, nargs="+", metavar="FILE", help="config file, or folder of them")
    check.set_defaults(command=check_command)
    _add_send(commands, common)
    return parser


def _add_send(commands: Any, common: Parser) -> None:
    send = commands.add_parser(
        "send", parents=[common], help="send files or standard input; status 0 only when everything was acknowledged"
    )
    send.add_argument("files", nargs="*", metavar="FILE", help="files to send, also gzip; none, or -: standard input")
    send.add_argument(
        "--endpoint",
        action="append",
        type=_endpoint,
        metavar="URL",
        help="a daemon; again: the next one to try (http://127.0.0.1:9800)",
    )
    send.add_argument("--project", default="default", help="project of the events (default)")
    send.add_argument(
        "--ident", required=True, help="ident of the events; {stem} {logname} {dir} of a file may stand in it"
    )
    send.add_argument("--codec", default="raw", help="how the daemon shall read the lines (raw)")
    send.add_argument("--host", default="", help="name of the machine in the events (this one)")
    send.add_argument("--token-env", metavar="NAME", help="environment variable that holds the bearer token")
    send.add_argument("--ca", default="", metavar="FILE", help="PEM file of the authority of https endpoints")
    send.add_argument("--cert", default="", metavar="FILE", help="PEM file of the certificate to show them")
    send.add_argument("--key", default="", metavar="FILE", help="PEM file of its key")
    send.add_argument("--batch-secs", type=secs, default=1.0, metavar="SECS", help="longest wait for a full batch (1)")
    send.add_argument(
        "--timeout-secs",
        type=secs_or_none,
        metavar="SECS",
        help="at TERM or INT, time to deliver what was read (5); if given, also the time that daemons may refuse after "
        "the end of standard input",
    )
    send.add_argument(
        "--confirm",
        action="store_true",
        help="write OK at the start and for each line acknowledged (omprog of rsyslog, confirmMessages)",
    )
    send.set_defaults(command=send_command)


def _endpoint(text: str) -> str:
    try:
        return check_endpoint(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    return run_command_line(build_parser(), argv)


def run_command(arguments: argparse.Namespace) -> int:
    """Runs until a signal ends it, or until all inputs have ended and everything is acknowledged."""
    config = load(arguments.config)
    _logging(arguments, "info")
    telemetry = Telemetry()
    for warning in config.warnings:
        telemetry.say("warning of the config", detail=warning, level=logging.WARNING)
    raise_limit()
    os.umask(UMASK)
    uvloop.run(_run(Collector(config, telemetry), arguments.config))
    return 0


def check_command(arguments: argparse.Namespace) -> int:
    """Checks all files, and tells the errors of all."""
    problems: list[str] = []
    for path in arguments.configs:
        try:
            config = load(path)
        except ConfigError as exc:
            problems += exc.problems
            continue
        for warning in config.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        inputs = f"{len(config.inputs)} input{'' if len(config.inputs) == 1 else 's'}"
        print(f"ok: {path}: {inputs}; sends to {', '.join(config.collector.endpoints)}")
    if problems:
        raise ConfigError(problems)
    return 0


def send_command(arguments: argparse.Namespace) -> int:
    """Sends files or standard input. What was not acknowledged when a signal ends it makes status 1."""
    arguments.files = take_pipe(arguments.files)
    config = send_config(arguments)
    _logging(arguments, "warning")
    hide(secrets_of(config.collector))
    source = config.inputs[0]
    if arguments.confirm and not isinstance(source, StdinInput):
        raise ConfigError(["dpipe-collector send: --confirm is for standard input, not for files"])
    for name in arguments.files:
        check_file(name)

    def confirm(checkpoint: Checkpoint, host: str) -> list[Feed]:
        assert isinstance(source, StdinInput)
        return [ConfirmFeed(source, checkpoint, host)]

    collector = Collector(config, Telemetry(), stored=False, make_feeds=confirm if arguments.confirm else None)
    complete = uvloop.run(_send(collector, arguments, isinstance(source, StdinInput)))
    return ExitCode.DONE if complete else ExitCode.FAILED


async def _send(collector: Collector, arguments: argparse.Namespace, watched: bool) -> bool:
    """Like `_run`; of `watched` input the end is seen. Raises DpipeError when it gives up."""
    if not watched:
        return await _run(collector, None)
    sending = asyncio.create_task(_run(collector, None))
    hopeless = asyncio.create_task(until_hopeless(collector, os.getppid(), arguments.timeout_secs))
    await asyncio.wait((sending, hopeless), return_when=asyncio.FIRST_COMPLETED)
    if sending.done():
        hopeless.cancel()
        return sending.result()
    collector.stop(at_once=True)
    await sending
    raise DpipeError(hopeless.result())


def check_file(name: str) -> None:
    """Raises DpipeError if it is nothing that can be read to its end."""
    if not os.access(name, os.R_OK):
        raise DpipeError(f"{name} cannot be read: no such file, or no permission")
    if not Path(name).is_file():
        kind = "a folder: name the files in it" if Path(name).is_dir() else "no file: a pipe is sent alone, or by `<`"
        raise DpipeError(f"{name} is {kind}")
    if name.endswith(PACKED):
        text = "and only gzip is read: unpack it, and send what comes by a pipe"
        raise DpipeError(f"{name} is compressed ({Path(name).suffix}), {text}")


def take_pipe(files: list[str]) -> list[str]:
    """`-` is standard input, and a pipe that is named alone becomes it; the files that are left to send."""
    if files == ["-"]:
        return []
    if len(files) == 1 and os.access(files[0], os.R_OK) and not (Path(files[0]).is_file() or Path(files[0]).is_dir()):
        pipe = os.open(files[0], os.O_RDONLY)
        os.dup2(pipe, sys.stdin.fileno())
        os.close(pipe)
        return []
    return files


def send_config(arguments: argparse.Namespace) -> Config:
    """The config that the arguments of `send` stand for. Raises ConfigError."""
    token = None
    if arguments.token_env:
        if arguments.token_env not in os.environ:
            raise ConfigError([f"dpipe-collector send: --token-env: {arguments.token_env} is not set"])
        token = SecretStr(os.environ[arguments.token_env])
    common = {"project": arguments.project, "ident": arguments.ident, "codec": arguments.codec, "host": arguments.host}
    try:
        source: Input = (
            _tail(arguments.files, common)
            if arguments.files
            else StdinInput(type="stdin", name="send", spool="memory", **common)
        )
        settings = CollectorConfig(
            endpoints=tuple(arguments.endpoint or ("http://127.0.0.1:9800",)),
            token=token,
            tls=ClientTls(ca=arguments.ca, cert=arguments.cert, key=arguments.key),
            batch_secs=CONFIRM_BATCH_SECS if arguments.confirm else arguments.batch_secs,
            drain_timeout_secs=STOP_SECS if arguments.timeout_secs is None else arguments.timeout_secs,
            spool_max_bytes=16 << 20,
        )
    except ValidationError as exc:
        problems = [
            f"dpipe-collector send: --{'-'.join(map(str, error['loc'][-1:]))}: "
            f"{error['msg'].removeprefix('Value error, ')}"
            for error in exc.errors()
        ]
        raise ConfigError(problems) from exc
    return Config(settings, (source,))


def _tail(files: Sequence[str], common: dict[str, Any]) -> TailInput:
    """The files as they are: a name of a file need not be UTF-8, only one of a config has to."""
    tail = TailInput(type="tail", name="send", paths=(".",), follow=False, **common)
    return tail.model_copy(update={"paths": tuple(map(glob.escape, files))})


def _logging(arguments: argparse.Namespace, level: str) -> Any:
    return setup_logging(
        getattr(arguments, "log_level", level),
        getattr(arguments, "log_format", "text"),
        tracebacks=bool(getattr(arguments, "verbose", False)),
    )


async def _run(collector: Collector, path: Path | None) -> bool:
    """Runs with signals: TERM and INT stop (the second one at once), HUP reads the config again, USR1 dumps the
    state.
    """
    loop = asyncio.get_running_loop()
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            os._exit(ExitCode.FAILED)
        collector.stop()

    def reload() -> None:
        if path is None:
            return
        try:
            collector.reload(load(path))
        except ConfigError as exc:
            for problem in exc.problems:
                collector.telemetry.say(f"the old config stays: {problem}")

    for number, handler in (
        (signal.SIGTERM, stop),
        (signal.SIGINT, stop),
        (signal.SIGHUP, reload),
        (signal.SIGUSR1, collector.dump),
    ):
        loop.add_signal_handler(number, handler)
    return await collector.run()

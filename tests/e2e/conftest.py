"""Real processes for end-to-end tests: daemons, collectors and other programs, with their logs shown when a test
fails.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

WAIT_SECS = 40.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, secs: float = WAIT_SECS) -> None:
    """Raises AssertionError with `what` when the condition does not hold in time."""
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, f"waited {secs:.0f} s in vain: {what}"
        time.sleep(0.05)


class Program:
    """A process that is started, killed and started again; its output goes to a file."""

    def __init__(self, folder: Path, name: str, command: list[str], environ: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ
            )

    def kill(self) -> None:
        """As `kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks for an end; the exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(WAIT_SECS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} does not end:\n{self.text()[-3000:]}") from None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def ignores(self, number: int) -> bool:
        """Whether the process lets this signal pass."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return bool(int(re.findall(r"SigIgn:\s*(\w+)", status)[0], 16) >> (number - 1) & 1)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return None if self._process is None else self._process.poll()

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""


class Daemon(Program):
    """`dpiped run` with a folder, an http input at `ingest` and the admin API."""

    def __init__(
        self,
        folder: Path,
        tables: str,
        name: str = "dpiped",
        journal: str = "",
        project: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.admin, self.ingest = free_port(), free_port()
        self.folder = folder
        file = folder / f"{name}.toml"
        head = f'[engine]\nadmin = "127.0.0.1:{self.admin}"\ndata_dir = "{folder / name}"\ndrain_timeout_secs = 3\n'
        http = f'[[input]]\ntype = "http"\nlisten = "127.0.0.1:{self.ingest}"\nkeep_old = true\n'
        file.write_text(head + journal + '[[project]]\nname = "rs"\n' + project + http + tables, encoding="utf-8")
        super().__init__(folder, name, [sys.executable, "-m", "dpiped", "run", "-c", str(file)], environ)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ingest}"

    def start(self) -> None:
        super().start()
        wait_until(self.ready, f"{self.name} gets ready:\n{self.text()[-2000:]}")

    def ready(self) -> bool:
        assert self.running, f"{self.name} ended with {self.status}:\n{self.text()[-3000:]}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stat(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/admin/stat", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def send(self, events: Iterable[Mapping[str, Any]], ident: str = "app") -> None:
        """Returns when they are accepted."""
        body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        urllib.request.urlopen(f"{self.url}/ingest/rs/{ident}", data=body, timeout=60).close()

    def plugin(self, name: str) -> dict[str, Any]:
        """What `stat` says about one plugin."""
        (found,) = (plugin for plugin in self.stat()["plugins"] if plugin["name"] == name)
        return dict(found)

    def last_error(self, name: str) -> str:
        return str(self.plugin(name)["last_error"])

    def wait_delivered(self, name: str, secs: float = 120.0) -> None:
        """Returns when an output has delivered all that is in the journal."""
        wait_until(lambda: self.plugin(name)["lag_packs"] == 0, f"{name} has delivered everything", secs)


class Collector(Program):
    """`dpipe-collector run` that sends to endpoints."""

    def __init__(
        self,
        folder: Path,
        endpoints: list[str],
        tables: str,
        options: str = "",
        name: str = "collector",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        file = folder / f"{name}.toml"
        file.write_text(
            f'[collector]\ndata_dir = "{folder / name}"\nendpoints = {json.dumps(endpoints)}\nstatus = "127.0.0.1:0"\n'
            f"{options}{tables}",
            encoding="utf-8",
        )
        super().__init__(folder, name, [sys.executable, "-m", "collector", "run", "-c", str(file)], environ)

    def status(self) -> dict[str, Any]:
        """What it says of itself; its log names the address."""
        address = re.findall(r"status on ([\d.:]+)", self.log.read_text("utf-8"))[-1]
        with urllib.request.urlopen(f"http://{address}/status", timeout=10) as answer:
            report: dict[str, Any] = json.load(answer)
        return report


AnyProgram = TypeVar("AnyProgram", bound=Program)


def started(programs: list[Program], program: AnyProgram) -> AnyProgram:
    """The same one, running; it is killed at the end of the test."""
    programs.append(program)
    program.start()
    return program


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Programs put in here are killed at the end of the test."""
    running: list[Program] = []
    yield running
    for program in reversed(running):
        program.kill()


def events_in(folder: Path, pattern: str = "*.ndjson") -> list[dict[str, Any]]:
    """All events in the files of a folder, without a last line that is being written."""
    return [json.loads(line) for file in sorted(folder.glob(pattern)) for line in file.read_bytes().split(b"\n")[:-1]]


class Tools:
    """What tests of plain commands need."""

    free_port = staticmethod(free_port)
    wait_until = staticmethod(wait_until)

    def __init__(self, programs: list[Program]) -> None:
        self._programs = programs

    def start(self, folder: Path, name: str, command: list[str], environ: Mapping[str, str] | None = None) -> Program:
        return started(self._programs, Program(folder, name, command, environ))

    @staticmethod
    def answer_of(url: str) -> str:
        """What is answered, whatever its status; empty when nobody does."""
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as exc:
            return str(exc.read().decode())
        except OSError:
            return ""

    @classmethod
    def answers(cls, url: str) -> bool:
        return bool(cls.answer_of(url))


@pytest.fixture
def e2e(programs: list[Program]) -> Tools:
    return Tools(programs)

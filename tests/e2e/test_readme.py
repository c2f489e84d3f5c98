"""Every page with commands, run as a reader would run it: its files written, its commands started, its output compared.

Ports and folders are exchanged, so that pages can run beside each other. Real programs are taken from PATH, or from the
unpacked packages that DPIPE_SYSLOG_NG_ROOT and DPIPE_RSYSLOG_ROOT name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, Block, blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
WAIT_SECS = 30.0
PORTS = re.compile(r"\b(9800|9801|9876|9877|9886|5514|1514|1515)\b")
SERVICES = ("dpiped run", "dpipe-collector run", "syslog-ng", "rsyslogd")
"""Commands that run until the page ends, unless their output is shown."""
QUESTIONS = ("cat", "curl", "dpiped query", "ls", "tail")
"""Commands that may be asked again until the answer is there; of curl only reading."""
WRAPPERS = {
    "syslog-ng": (
        "DPIPE_SYSLOG_NG_ROOT",
        "usr/lib/syslog-ng",
        "{root}/usr/sbin/syslog-ng --no-caps -R $PWD/persist$$ "
        '-c $PWD/ctl$$ -p $PWD/pid$$ --module-path=$(echo {root}/usr/lib/syslog-ng/3.*) "$@"',
    ),
    "rsyslogd": (
        "DPIPE_RSYSLOG_ROOT",
        "usr/lib/rsyslog",
        '{root}/usr/sbin/rsyslogd -iNONE -M {root}/usr/lib/$(uname -m)-linux-gnu/rsyslog "$@"',
    ),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Reader:
    """Somebody who does what a page says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, int] = {}
        self._services: list[tuple[str, subprocess.Popen[bytes]]] = []
        bin_folder = folder / ".bin"
        bin_folder.mkdir()
        path = f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        secrets = {"DPIPE_TOKEN": "geheim-5", "DPIPE_ADMIN_TOKEN": "geheim-6", "DPIPE_SALT": "geheim-7-salt"}
        self.environ = {**os.environ, "PATH": path, **secrets}
        for name, (variable, libraries, command) in WRAPPERS.items():
            root = os.environ.get(variable)
            if root and not shutil.which(name):
                library_path = ":".join(
                    f"{root}/{part}"
                    for part in (
                        f"usr/lib/{os.uname().machine}-linux-gnu",
                        f"lib/{os.uname().machine}-linux-gnu",
                        libraries,
                    )
                )
                wrapper = bin_folder / name
                wrapper.write_text(f"#!/bin/sh\nLD_LIBRARY_PATH={library_path} exec {command.format(root=root)}\n")
                wrapper.chmod(0o755)

    def knows(self, program: str) -> bool:
        return shutil.which(program, path=self.environ["PATH"]) is not None

    def translate(self, text: str) -> str:
        """The same with ports and folders of this reader."""
        text = PORTS.sub(lambda match: str(self._ports.setdefault(match[0], free_port())), text)
        text = text.replace("/opt/dpipe/bin/", f"{Path(sys.executable).parent}/")
        return re.sub(r"/var/(lib|log|spool)/", rf"{self.folder}/var-\1/", text)

    def write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        text = self.translate(text)
        for needed in re.findall(rf"{self.folder}/var-\w+(?:/[\w-]+)*(?=[\"/])", text):
            Path(needed).mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def run(self, block: Block, expected: Block | None) -> None:
        for command in _commands(block.text):
            if command.startswith(SERVICES) and expected is None:
                self._serve(command, block)
            elif expected is None:
                self._once(command, block)
        if expected is not None:
            self._compare(block, expected)

    def _serve(self, command: str, block: Block) -> None:
        log = self.folder / f".log{len(self._services)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.translate(command)}"],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._services.append((command, process))
        deadline = time.monotonic() + WAIT_SECS
        while not self._is_up(command, log):
            told = log.read_text("utf-8", "replace")
            assert process.poll() is None, f"{block.place}: {command} ended:\n{told}"
            assert time.monotonic() < deadline, f"{block.place}: {command} does not start:\n{told}"
            time.sleep(0.05)

    def _is_up(self, command: str, log: Path) -> bool:
        if command.startswith("dpip"):
            return "started" in log.read_text("utf-8", "replace")
        config = self.folder / shlex.split(command)[shlex.split(command).index("-f") + 1]
        port = re.search(r'port(?:\(|=")(\d+)', config.read_text("utf-8"))
        with socket.socket() as probe:
            return port is not None and probe.connect_ex(("127.0.0.1", int(port[1]))) == 0

    def _once(self, command: str, block: Block) -> None:
        done = self._do(command)
        assert done.returncode == 0, f"{block.place}: {command}\nstatus {done.returncode}\n{done.stdout}{done.stderr}"

    def _do(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", self.translate(script)],
            cwd=self.folder,
            env=self.environ,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT_SECS * 2,
            check=False,
        )

    def _compare(self, block: Block, expected: Block) -> None:
        lines = [re.escape(line).replace(r"\.\.", ".*") for line in self.translate(expected.text).splitlines()]
        pattern = re.compile(r"\n".join(lines) + r"\n?")
        again = all(
            command.startswith(QUESTIONS) and " -d" not in command and " --data" not in command
            for command in _commands(block.text)
        )
        deadline = time.monotonic() + (WAIT_SECS if again else 0)
        while True:
            done = self._do(block.text)
            if pattern.fullmatch(done.stdout):
                return
            assert time.monotonic() < deadline, (
                f"{expected.place}: the page shows\n{expected.text}\nand it printed\n{done.stdout}\n{done.stderr}"
            )
            time.sleep(0.2)

    def close(self) -> None:
        """Ends what was started; all of it has to stop by itself when asked."""
        late = []
        for command, process in reversed(self._services):
            process.terminate()
            try:
                process.wait(WAIT_SECS)
            except subprocess.TimeoutExpired:
                late.append(command)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
            process.wait()
        assert late == []


def _commands(script: str) -> list[str]:
    """One a line; a line that ends in a backslash goes on."""
    return [line.strip() for line in script.replace("\\\n", " ").splitlines() if line.strip() and line[:1] != "#"]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


RUNNABLE = [page for page in PAGES if any(block.language == "sh" for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, reader: Reader) -> None:
    found = blocks(page)
    for program in {word for block in found if block.language == "sh" for word in block.words}:
        if not reader.knows(program):
            pytest.skip(f"{program} is not here")
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language in ("toml", "python", "conf") and block.file:
            reader.write(Path(block.file).name if block.language == "conf" else block.file, block.text)
        elif block.language == "sh":
            shown = following if following is not None and following.language == "text" else None
            reader.run(block, shown)


def test_the_pages_that_have_to_run_do() -> None:
    names = {str(page.relative_to(ROOT)) for page in RUNNABLE}
    clients = {f"docs/clients/{name}.md" for name in ("curl", "logger", "rsyslog", "syslog-ng")}
    assert {"README.md", "docs/config.md", "docs/http.md", "docs/operations.md", "docs/security.md", *clients} <= names

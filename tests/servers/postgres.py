"""A PostgreSQL of a test's own. DPIPE_POSTGRES names the folder of its programs, such as /usr/lib/postgresql/15/bin."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

PROGRAMS = os.environ.get("DPIPE_POSTGRES", "")
REASON = "DPIPE_POSTGRES names no folder of PostgreSQL's programs"
READY_SECS = 60.0


class Postgres:
    """`with Postgres() as server`: runs on a port of its own, as nobody if we are root, which it refuses to be."""

    def __enter__(self) -> Postgres:
        self.folder = Path(tempfile.mkdtemp(prefix="dpipe-pg-"))
        self._as: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
            self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        data = str(self.folder / "data")
        make = [f"{PROGRAMS}/initdb", "-D", data, "-U", "dpipe", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run([*self._as, *make], check=True, capture_output=True, cwd=self.folder)
        options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        given = [part for option in options for part in ("-c", option)]
        run = [f"{PROGRAMS}/postgres", "-D", data, "-p", str(self.port), *given]
        with (self.folder.parent / f"{self.folder.name}.log").open("wb") as log:
            self._process = subprocess.Popen([*self._as, *run], stdout=log, stderr=log, cwd=self.folder)
        self._wait()
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECS
        while True:
            try:
                self.ask("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < deadline and self._process.poll() is None, "PostgreSQL does not get ready"
                time.sleep(0.1)
            else:
                return

    def ask(self, statement: str) -> list[Any]:
        """The rows that a statement gives; none if it gives none."""
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=dpipe dbname=postgres", autocommit=True) as found:
            cursor = found.execute(statement)  # type: ignore[call-overload]
            return list(cursor.fetchall()) if cursor.description else []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.log").unlink(missing_ok=True)

"""Canaries: secrets of every kind go into real processes, and none comes out; files are closed to others."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.pki import Pki

pytestmark = pytest.mark.slow
CANARY = "canary-5f1c"
"""All secrets begin with it."""
ADMIN_PATHS = ("stat", "plugins", "pools", "uris", "graph", "ping")


def read(url: str, *, data: bytes | None = None, token: str = "") -> str:
    """The answer, whatever its status."""
    request = urllib.request.Request(url, data=data, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as exc:
        return str(exc.read().decode())


def daemon_config(folder: Path, admin: int, ingest: int, dead: int) -> str:
    """A config with a secret wherever one may stand; its outputs fail, for errors tell most."""
    (folder / "file-secret").write_text(f"{CANARY}-file\n")
    return f"""
[engine]
admin = "127.0.0.1:{admin}"
admin_token = "${{env:SECRET_ADMIN}}"
admin_tokens = ["{CANARY}-admin-2"]
data_dir = "{folder}/data"
drain_timeout_secs = 0.2
[[project]]
name = "rs"
logfile = "{folder}/logs/rs.log"
tokens = ["{CANARY}-project"]
[[input]]
type = "http"
listen = "127.0.0.1:{ingest}"
tokens = ["{CANARY}-input", "${{file:file-secret}}"]
[[output]]
type = "file"
path = "{folder}/out/{{project}}/{{ident}}.ndjson"
[[output]]
type = "http"
name = "web"
url = "http://127.0.0.1:{dead}/x?key=${{env:SECRET_QUERY}}"
user = "me"
password = "{CANARY}-password"
headers = {{ X-Key = "{CANARY}-\\"header\\u00e9" }}
retry = {{ initial_secs = 0.05, max_secs = 0.1 }}
[[output]]
type = "dpipe"
endpoints = ["http://127.0.0.1:{dead}"]
token = "{CANARY}-dpipe"
retry = {{ initial_secs = 0.05, max_secs = 0.1 }}
[[output]]
type = "mail"
to = ["ops@example.com"]
sender = "dpipe@example.com"
server = "127.0.0.1:{dead}"
user = "me"
password = "{CANARY}-mail"
[[output]]
type = "notify"
url = "json://me:{CANARY}-notify@127.0.0.1:{dead}/{CANARY}-hook?overflow=split"
[[output]]
type = "file"
name = "told"
match = ["_dpipe.**"]
path = "{folder}/out/told.ndjson"
"""


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_symlink()]


@pytest.mark.parametrize("umask", ["000", "077"])
def test_a_daemon_tells_no_secret_and_opens_no_file(tmp_path: Path, e2e: Any, umask: str) -> None:
    admin, ingest, dead = (e2e.free_port() for _ in range(3))
    config = tmp_path / "etc" / "dpiped.toml"
    config.parent.mkdir()
    config.write_text(daemon_config(config.parent, admin, ingest, dead))
    folder = config.parent
    environ = {"SECRET_ADMIN": f"{CANARY}-admin", "SECRET_QUERY": f"{CANARY}-query"}
    inner = f"{sys.executable} -m dpiped -v --log-level debug run -c {config}"
    daemon = e2e.start(tmp_path, "dpiped", ["sh", "-c", f"umask {umask}; exec {inner}"], environ)
    base = f"http://127.0.0.1:{admin}"
    e2e.wait_until(lambda: e2e.answers(f"{base}/healthz"), "the daemon gets ready")
    told = [read(f"http://127.0.0.1:{ingest}/ingest/rs/app", data=b'{"n":1}', token=f"{CANARY}-input")]
    told += [
        read(
            f"http://127.0.0.1:{ingest}/ingest/rs/app", data=f"bad {CANARY}-dpipe\n".encode(), token=f"{CANARY}-project"
        )
    ]
    told += [read(f"http://127.0.0.1:{ingest}/ingest/rs/app", data=b"{}", token=f"{CANARY}-file") for _ in range(2)]
    told += [read(f"http://127.0.0.1:{ingest}/ingest/rs/app", data=b"{}", token=f"{CANARY}-wrong")]
    e2e.wait_until(
        lambda: all(f"again plugin={name}" in daemon.text() for name in ("web", "mail", "notify")), "outputs fail"
    )

    # A reload brings a new secret, and one in a config that is wrong.
    text = config.read_text().replace(f"{CANARY}-dpipe", f"{CANARY}-reloaded")
    config.write_text(text)
    told.append(read(f"{base}/admin/reload", data=b"", token=f"{CANARY}-admin"))
    assert "dpipe changed" in told[-1]
    for wrong in ("http://me:{}@h/", "ftp://me:{}@h/"):
        config.write_text(text.replace(f"http://127.0.0.1:{dead}/x", wrong.format(f"{CANARY}-inurl"), 1))
        told.append(read(f"{base}/admin/reload", data=b"", token=f"{CANARY}-admin-2"))
        assert "old config stays" in told[-1]
    config.write_text(text.replace('user = "me"', f'token = "{CANARY}-both"\nuser = "me"'))
    told.append(read(f"{base}/admin/reload", data=b"", token=f"{CANARY}-admin"))
    daemon.signal(signal.SIGHUP)
    daemon.signal(signal.SIGUSR1)
    e2e.wait_until(lambda: "the old config stays" in daemon.text(), "HUP is answered")
    e2e.wait_until(lambda: "lag_packs" in daemon.text(), "USR1 is answered")
    e2e.wait_until((folder / "out/told.ndjson").exists, "the daemon tells of itself")
    told += [read(f"{base}/admin/{name}") for name in ADMIN_PATHS]
    told += [read(f"{base}/{name}") for name in ("metrics", "readyz", "healthz", "nowhere")]
    assert daemon.stop() == 0
    told += [daemon.text(), (folder / "out/told.ndjson").read_text(), (folder / "logs/rs.log").read_text()]
    for command in ("check", "graph"):
        done = subprocess.run(
            [sys.executable, "-m", "dpiped", "-v", command, str(config)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environ},
        )
        told.append(done.stdout + done.stderr)
    leaks = [text for text in told if CANARY in text]
    assert leaks == []
    assert 'text="bad ***"' in (folder / "logs/rs.log").read_text()

    for path in all_files(folder):
        if path in (config, folder / "file-secret"):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o750 if path.is_dir() else 0o640), f"{path} has {mode:o}"
    assert {path.name for path in folder.iterdir()} >= {"data", "out", "logs"}


def test_a_collector_tells_no_secret_and_opens_no_file(tmp_path: Path, e2e: Any) -> None:
    status, dead, port = (e2e.free_port() for _ in range(3))
    folder = tmp_path / "etc"
    folder.mkdir()
    log = folder / "app.log"
    log.write_text("one\n")
    config = folder / "collector.toml"
    text = f"""
[collector]
data_dir = "{folder}/data"
endpoints = ["https://127.0.0.1:{dead}"]
token = "{CANARY}-collector"
status = "127.0.0.1:{status}"
tls = {{ ca = "{Pki(folder).ca}" }}
[[input]]
type = "tail"
paths = ["{log}"]
ident = "app"
[[input]]
type = "syslog"
listen = "127.0.0.1:{port}"
ident = "sys"
"""
    config.write_text(text)
    inner = f"{sys.executable} -m collector -v --log-level debug run -c {config}"
    collector = e2e.start(tmp_path, "collector", ["sh", "-c", f"umask 000; exec {inner}"])
    base = f"http://127.0.0.1:{status}"
    e2e.wait_until(lambda: "cannot be reached" in e2e.answer_of(f"{base}/healthz"), "the daemon is missed")
    config.write_text(text.replace(f"{CANARY}-collector", f"{CANARY}-reloaded"))
    collector.signal(signal.SIGHUP)
    e2e.wait_until(lambda: "config reloaded" in collector.text(), "HUP is answered")
    config.write_text(text.replace("https://127", f"https://me:{CANARY}-inurl@127"))
    collector.signal(signal.SIGHUP)
    e2e.wait_until(lambda: "the old config stays" in collector.text(), "HUP is refused")
    collector.signal(signal.SIGUSR1)
    told = [e2e.answer_of(f"{base}/{name}") for name in ("status", "metrics", "healthz", "x")]
    assert json.loads(told[0])["healthy"] is False
    assert collector.stop() == 0
    assert [text for text in (*told, collector.text()) if CANARY in text] == []
    for path in all_files(folder / "data"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o750 if path.is_dir() else 0o640), f"{path} has {mode:o}"
    assert (folder / "data/spool").is_dir()

"""Real processes by TLS: a collector with a certificate of its own, and new certificates on both sides by HUP."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.pki import Pki

pytestmark = pytest.mark.slow


def serial(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection gets."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def lines_in(file: Path) -> list[str]:
    return [json.loads(line)["message"] for line in file.read_text().splitlines()] if file.exists() else []


def test_certificates_change_while_lines_flow(tmp_path: Path, e2e: Any) -> None:
    pki, other = Pki(tmp_path), Pki(tmp_path, "other")
    ingest, admin, status = (e2e.free_port() for _ in range(3))
    clients, log, out = tmp_path / "clients.pem", tmp_path / "app.log", tmp_path / "out.ndjson"
    clients.write_text(Path(pki.ca).read_text())
    pki.issue("server")
    pki.issue("client")
    (tmp_path / "dpiped.toml").write_text(f"""
[engine]
admin = "127.0.0.1:{admin}"
data_dir = "{tmp_path}/dpiped"
[[input]]
type = "http"
listen = "0.0.0.0:{ingest}"
tls = {{ cert = "{tmp_path}/server.pem", client_ca = "{clients}" }}
[[output]]
type = "file"
path = "{out}"
""")
    (tmp_path / "collector.toml").write_text(f"""
[collector]
data_dir = "{tmp_path}/collector"
endpoints = ["https://localhost:{ingest}"]
batch_secs = 0.05
status = "127.0.0.1:{status}"
status_tls = {{ cert = "{tmp_path}/server.pem" }}
tls = {{ ca = "{pki.ca}", cert = "{tmp_path}/client.pem" }}
[[input]]
type = "tail"
paths = ["{log}"]
ident = "app"
""")
    log.write_text("")
    command = [sys.executable, "-m"]
    daemon = e2e.start(tmp_path, "dpiped", [*command, "dpiped", "run", "-c", str(tmp_path / "dpiped.toml")])
    e2e.wait_until(lambda: e2e.answers(f"http://127.0.0.1:{admin}/readyz"), "the daemon gets ready")
    collector = e2e.start(tmp_path, "collector", [*command, "collector", "run", "-c", str(tmp_path / "collector.toml")])
    sent: list[str] = []

    def write(text: str) -> None:
        sent.append(text)
        with log.open("a") as file:
            file.write(text + "\n")
        e2e.wait_until(lambda: lines_in(out) == sent, f"{text} arrives\n{collector.text()}\n{daemon.text()}")

    write("with the first certificates")
    looking = pki.client(str(tmp_path / "client.pem"))
    before = [serial(port, looking) for port in (ingest, status)]

    # Another authority of clients is let in, the collector changes over to it, the first one is shut out.
    clients.write_text(Path(pki.ca).read_text() + Path(other.ca).read_text())
    pki.issue("server")
    daemon.signal(signal.SIGHUP)
    e2e.wait_until(lambda: serial(ingest, looking) != before[0], "the daemon takes its new certificate")
    write("with a new certificate of the server")
    other.issue("client")
    collector.signal(signal.SIGHUP)
    e2e.wait_until(lambda: "config reloaded" in collector.text(), "the collector takes its new certificate")
    assert serial(status, looking) != before[1]
    write("with a new certificate of the client")
    clients.write_text(Path(other.ca).read_text())
    daemon.signal(signal.SIGHUP)
    e2e.wait_until(lambda: "http changed" in daemon.text(), "the first authority is out")
    write("after the first authority was shut out")

    with urllib.request.urlopen(f"https://localhost:{status}/healthz", context=looking, timeout=10) as answer:
        assert answer.read() == b"ok\n"
    assert (collector.stop(), daemon.stop()) == (0, 0)


def test_send_by_tls(tmp_path: Path, e2e: Any) -> None:
    pki, ingest, admin = Pki(tmp_path), e2e.free_port(), e2e.free_port()
    out = tmp_path / "out.ndjson"
    (tmp_path / "dpiped.toml").write_text(f"""
[engine]
admin = "127.0.0.1:{admin}"
data_dir = "{tmp_path}/dpiped"
[[input]]
type = "http"
listen = "127.0.0.1:{ingest}"
tls = {{ cert = "{pki.issue("server")}", client_ca = "{pki.ca}" }}
[[output]]
type = "file"
path = "{out}"
""")
    (tmp_path / "a.txt").write_text("one\n")
    daemon = e2e.start(tmp_path, "dpiped", [sys.executable, "-m", "dpiped", "run", "-c", str(tmp_path / "dpiped.toml")])
    e2e.wait_until(lambda: e2e.answers(f"http://127.0.0.1:{admin}/readyz"), "the daemon gets ready")
    send = [sys.executable, "-m", "collector", "send", "--ident", "x", "--endpoint", f"https://localhost:{ingest}"]
    send += ["--ca", pki.ca, "--cert", pki.issue("client"), str(tmp_path / "a.txt")]
    sender = e2e.start(tmp_path, "send", send)
    e2e.wait_until(lambda: sender.status == 0, "send is done")
    e2e.wait_until(lambda: lines_in(out) == ["one"], "it arrives")
    assert daemon.stop() == 0

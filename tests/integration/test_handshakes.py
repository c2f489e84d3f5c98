"""TLS handshakes that fail, on the running engine: counted and told with their reason, and holding nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path

import pytest

from dpiped.engine import Engine
from dpiped.testing import address_of, running, until
from tests.pki import Pki

CONFIG = """
[[project]]
name = "rs"
[[input]]
type = "http"
listen = "127.0.0.1:0"
tls = {{ {keys} }}
max_connections = 3
[[input]]
type = "syslog"
transport = "tls"
listen = "127.0.0.1:0"
tls = {{ {keys} }}
[[output]]
type = "discard"
"""


async def fails(address: str, context: ssl.SSLContext | None = None, said: bytes = b"") -> None:
    """Connects, says something and is refused."""
    host, port = address.split(":")
    name = "localhost" if context is not None else None
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
        writer.write(said)
        assert await reader.read(100) == b""
        writer.close()
    except (ssl.SSLError, ConnectionError):
        pass


def distrusts(address: str, pki: Pki) -> None:
    """By a socket, for asyncio does not tell the other side why it goes."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as plain, pytest.raises(ssl.SSLCertVerificationError):
        pki.client().wrap_socket(plain, server_hostname="localhost")


async def noted(engine: Engine, plugin: str, what: str, amount: int) -> None:
    line = f'dpipe_noted_events_total{{plugin="{plugin}",what="{what}"}} {amount}.0\n'.encode()
    await until(lambda: line in engine.telemetry.metrics.text())


async def test_failed_handshakes_are_counted_with_their_reason_and_told_once_in_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pki, other = Pki(tmp_path), Pki(tmp_path, "other")
    keys = f'cert = "{pki.issue("s")}", client_ca = "{pki.ca}"'
    caplog.set_level(logging.WARNING, "dpipe")
    async with running(CONFIG.format(keys=keys), tmp_path, engine_keys=f"admin_tls = {{ {keys} }}\n") as engine:
        assert engine.admin is not None
        places = {"http": address_of(engine, "http"), "syslog": address_of(engine, "syslog")}
        for name, address in (places | {"admin": engine.admin.address}).items():
            for _ in range(5):
                await fails(address, pki.client())
            await fails(address, pki.client(other.issue("d")))
            await fails(address, said=b"GET / HTTP/1.1\r\n\r\n")
            await asyncio.to_thread(distrusts, address, other)
            await noted(engine, name, "tls_no_certificate", 5)
            await noted(engine, name, "tls_wrong_certificate", 1)
            await noted(engine, name, "tls_failed", 1)
            await noted(engine, name, "tls_refused", 1)
            told = [r.details for r in caplog.records if r.details["plugin"] == name]  # type: ignore[attr-defined]
            assert {"plugin": name, "amount": 1, "peer": "127.0.0.1", "reason": "it shows no certificate"} in told
            assert len(told) <= 4, told


async def test_a_handshake_that_failed_takes_no_place_of_a_connection(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    keys = f'cert = "{pki.issue("s")}", client_ca = "{pki.ca}"'
    async with running(CONFIG.format(keys=keys), tmp_path) as engine:
        address = address_of(engine, "http")
        for _ in range(6):  # twice as many as there may be connections
            await fails(address, pki.client())
        await noted(engine, "http", "tls_no_certificate", 6)
        host, port = address.split(":")
        good = pki.client(pki.issue("c"))
        reader, writer = await asyncio.open_connection(host, int(port), ssl=good, server_hostname="localhost")
        writer.write(b"GET /ingest HTTP/1.0\r\n\r\n")
        assert b" 200 " in await reader.readline()
        writer.close()
        assert b"turned_away" not in engine.telemetry.metrics.text()


async def test_who_opens_and_closes_is_counted_and_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pki = Pki(tmp_path)
    caplog.set_level(logging.WARNING, "dpipe")
    async with running(CONFIG.format(keys=f'cert = "{pki.issue("s")}"'), tmp_path) as engine:
        for name in ("http", "syslog"):
            host, port = address_of(engine, name).split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await noted(engine, name, "tls_broken_off", 1)
        assert not [record for record in caplog.records if record.message == "TLS handshake failed"]


async def test_who_stops_breaks_off_handshakes_under_way(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    readers = []
    async with running(CONFIG.format(keys=f'cert = "{pki.issue("s")}"'), tmp_path) as engine:
        for name in ("http", "syslog"):
            host, port = address_of(engine, name).split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            readers.append((reader, writer))
        await until(lambda: len(handshakes()) == len(readers))
    assert handshakes() == []
    for reader, writer in readers:
        assert await reader.read() == b""
        writer.close()


def handshakes() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "TLS handshake"]

"""What is told when brokers turn us away: from the words of librdkafka, and from a look at the port."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dpiped.kafka.config import KafkaConfig
from dpiped.kafka.refusal import advice_on, without_times
from tests.pki import Pki

HANDSHAKE = "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed"
ALERT = "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42"
PIPE = "Send failed: error:80000020:system library::Broken pipe: tls_retry_write_records failure"
NO_MECHANISM = (
    "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: "
)
TLS = {"security": "tls"}


def config(*brokers: str, **more: Any) -> KafkaConfig:
    return KafkaConfig(brokers=brokers or ("127.0.0.1:1",), **more)


@asynccontextmanager
async def listener(cert: str = "") -> AsyncIterator[str]:
    """HOST:PORT of one that ends every connection after its first bytes; with a certificate, of TLS."""

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert)
    server = await asyncio.start_server(end, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def advice(address: str, text: str, given: KafkaConfig) -> str:
    """About an error of this broker; empty text: about its silence."""
    return await asyncio.to_thread(advice_on, f"ssl://{address}/bootstrap: {text}" if text else "", given)


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (
            f"{NO_MECHANISM}SCRAM-SHA-512,GSSAPI",
            {},
            "takes no mechanism PLAIN: .* that it takes: SCRAM-SHA-512, GSSAPI",
        ),
        (NO_MECHANISM, {}, "knows no users: leave user and password away"),
        ("SASL authentication error: wrong", {}, "the credentials are refused: mend user and password: SASL"),
        (ALERT, TLS, "asks for a certificate of ours: set tls.cert and tls.key"),
        (ALERT, {**TLS, "tls": {"cert": "/c.pem"}}, "does not take our certificate /c.pem: mend tls.cert"),
        ("Connect to ipv4#127.0.0.1:1 failed: Connection refused", TLS, ""),
        (HANDSHAKE, TLS, ""),  # nobody is there any more
    ],
)
async def test_what_librdkafka_tells(text: str, more: dict[str, Any], told: str) -> None:
    assert_told(await advice("127.0.0.1:1", text, config(**more)), told)


def assert_told(found: str, told: str) -> None:
    assert re.search(told, found) if told else not found


@pytest.mark.parametrize(
    ("names", "text", "more", "told"),
    [
        ((), HANDSHAKE, {"tls": "other"}, "shows a certificate of an authority that is not in .*other.pem: set tls.ca"),
        ((), HANDSHAKE, {}, "not in the certificates of the system: set tls.ca"),
        (("kafka.example.org",), HANDSHAKE, {"tls": "ca"}, "shows a certificate for another name: name it in brokers"),
        ((), "", {"tls": "ca"}, "ends connections: set user and password, or tls.cert and tls.key, if"),
        ((), PIPE, {"tls": "ca"}, "ends connections: set user and password"),
        ((), HANDSHAKE, {"tls": "other", "properties": {"ssl.endpoint.identification.algorithm": "none"}}, ""),
    ],
)
async def test_a_look_at_a_listener_with_tls(
    names: tuple[str, ...], text: str, more: dict[str, Any], told: str, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    Pki(tmp_path, "other")
    more = {**TLS, **more, "tls": {"ca": f"{tmp_path}/{more['tls']}.pem"} if "tls" in more else {}}
    async with listener(pki.issue("server", *names)) as address:
        assert_told(await advice(address, text, config(address, **more)), told)


async def test_tls_on_one_side_only(tmp_path: Path) -> None:
    async with listener(Pki(tmp_path).issue("server")) as address:
        assert 'speaks TLS: set security = "tls"' in await advice(address, "", config(address))
    async with listener() as address:
        disconnected = "SSL handshake failed: Disconnected: SSL connection closed by peer"
        for text in ("", disconnected):
            assert "speaks no TLS" in await advice(address, text, config(address, **TLS))
        assert "ends connections: set user and password, if" in await advice(address, "", config(address))
        assert await advice(address, "", config(address, user="u", password="p")) == ""


def test_an_error_is_the_same_each_time() -> None:
    text = "ssl://h:1/1: SSL handshake failed (after 13ms in state SSL_HANDSHAKE, 2 identical error(s) suppressed)"
    assert without_times(text) == "ssl://h:1/1: SSL handshake failed"

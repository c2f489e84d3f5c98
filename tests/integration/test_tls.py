"""TLS on the running engine: who gets in, new certificates without a restart, handshakes that never end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from pathlib import Path

import aiohttp
import pytest

from dpiped.admin_client import AdminClient, trusting
from dpiped.engine import Engine
from dpiped.errors import ConfigError, DpipeError
from dpiped.reload import reload_file
from dpiped.testing import address_of, events_in, running, until
from tests.pki import Pki

GOOD = b'{"@timestamp":1700000000000,"n":1}\n'
PROJECT = '[[project]]\nname = "rs"\n'


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def http(tls: str, more: str = "") -> str:
    return f'[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\ntls = {{ {tls} }}\n{more}\n'


def archive(folder: Path) -> str:
    return f'[[output]]\ntype = "file"\nname = "archive"\npath = "{folder}/out.ndjson"\n'


async def send(engine: Engine, context: ssl.SSLContext, headers: dict[str, str] | None = None) -> int:
    """The status of a POST by https."""
    url = f"https://{address_of(engine, 'http')}/ingest/rs/app"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=GOOD, ssl=context, headers=headers) as answer,
    ):
        return answer.status


async def shown_certificate(address: str, context: ssl.SSLContext) -> str:
    """The hash of the certificate that a new connection gets."""
    host, port = address.split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(der).hexdigest()


async def is_let_in(address: str, context: ssl.SSLContext, request: bytes = b"GET / HTTP/1.0\r\n\r\n") -> bool:
    """Whether a connection is answered: of TLS 1.3 the server's verdict comes after the client's handshake."""
    host, port = address.split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
        writer.write(request)
        answer = await reader.read(100)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return False
    return bool(answer)


async def test_https_and_nothing_else(tmp_path: Path, pki: Pki) -> None:
    async with running(PROJECT + http(f'cert = "{pki.issue("s")}"') + archive(tmp_path), tmp_path) as engine:
        assert await send(engine, pki.client()) == 200
        host, port = address_of(engine, "http").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /ingest/rs/app HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{}\n")
        try:
            assert await reader.read(100) == b""
        except ConnectionError:
            assert engine.journal.next == 1  # cut off, which says the same
        writer.close()
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 1)


async def test_with_client_ca_only_its_certificates_get_in(tmp_path: Path, pki: Pki) -> None:
    other = Pki(tmp_path, "other")
    tls = f'cert = "{pki.issue("s")}", client_ca = "{pki.ca}"'
    config = PROJECT + http(tls).replace("127.0.0.1:0", "0.0.0.0:0") + archive(tmp_path)  # no token is needed
    async with running(config, tmp_path) as engine:
        address = address_of(engine, "http").replace("0.0.0.0", "127.0.0.1")
        stranger = pki.client()
        stranger.load_cert_chain(other.issue("d"))
        assert not await is_let_in(address, pki.client())
        assert not await is_let_in(address, stranger)
        assert await is_let_in(address, pki.client(pki.issue("c")))


async def test_a_certificate_does_not_stand_in_for_a_token(tmp_path: Path, pki: Pki) -> None:
    tls = f'cert = "{pki.issue("s")}", client_ca = "{pki.ca}"'
    async with running(PROJECT + http(tls, 'tokens = ["s3cret-5"]') + archive(tmp_path), tmp_path) as engine:
        client = pki.client(pki.issue("c"))
        assert await send(engine, client) == 401
        assert await send(engine, client, {"Authorization": "Bearer s3cret-5"}) == 200


async def test_a_new_certificate_is_taken_at_a_reload_and_no_connection_is_dropped(tmp_path: Path, pki: Pki) -> None:
    keys = f'admin_tls = {{ cert = "{pki.issue("s")}" }}\n'
    config = PROJECT + http(f'cert = "{pki.folder}/s.pem"') + archive(tmp_path)
    async with running(config, tmp_path, engine_keys=keys) as engine:
        assert engine.admin is not None
        client = pki.client()
        places = [address_of(engine, "http"), engine.admin.address]
        before = [await shown_certificate(place, client) for place in places]
        url = f"https://{places[0]}/ingest/rs/app"
        connector = aiohttp.TCPConnector(ssl=client, limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.post(url, data=GOOD) as answer:
                assert (answer.status, answer.connection is None) == (200, True)
            held = next(iter(connector._conns.values()))[0][0]
            pki.issue("s")
            assert await reload_file(engine) == []  # no word of the config is another
            async with session.post(url, data=GOOD) as answer:
                assert answer.status == 200
            assert next(iter(connector._conns.values()))[0][0] is held
        after = [await shown_certificate(place, client) for place in places]
        assert all(new != old for new, old in zip(after, before, strict=True))
        Path(pki.folder / "s.pem").write_text("nonsense")
        with pytest.raises(ConfigError, match=r"s\.pem"):
            await reload_file(engine)
        assert [await shown_certificate(place, client) for place in places] == after


async def test_who_was_taken_out_of_client_ca_is_out_at_the_reload(tmp_path: Path, pki: Pki) -> None:
    other = Pki(tmp_path, "other")
    clients = tmp_path / "clients.pem"
    clients.write_text(Path(pki.ca).read_text() + Path(other.ca).read_text())
    tls = f'cert = "{pki.issue("s")}", client_ca = "{clients}"'
    config = PROJECT + http(tls) + archive(tmp_path)
    async with running(config, tmp_path, engine_keys=f"admin_tls = {{ {tls} }}\n") as engine:
        assert engine.admin is not None
        mine, others = pki.client(pki.issue("c")), pki.client(other.issue("d"))
        admin = engine.admin.address
        for client in (mine, others):
            assert await is_let_in(address_of(engine, "http"), client)
            assert await is_let_in(admin, client)
        clients.write_text(Path(pki.ca).read_text())
        assert await reload_file(engine) == ["http changed"]
        await until(lambda: engine.inputs[0].status == "running")
        assert engine.admin.address == admin
        for place in (address_of(engine, "http"), admin):
            assert await is_let_in(place, mine)
            assert not await is_let_in(place, others)


async def test_a_handshake_that_never_ends_holds_nothing(
    tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpiped.handshake.HANDSHAKE_SECS", 0.3)
    cert = pki.issue("s")
    syslog = f'[[input]]\ntype = "syslog"\ntransport = "tls"\nlisten = "127.0.0.1:0"\ntls = {{ cert = "{cert}" }}\n'
    keys = f'admin_tls = {{ cert = "{cert}" }}\n'
    config = PROJECT + http(f'cert = "{cert}"') + syslog + archive(tmp_path)
    async with running(config, tmp_path, engine_keys=keys) as engine:
        assert engine.admin is not None
        for address in (address_of(engine, "http"), address_of(engine, "syslog"), engine.admin.address):
            for hello in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
                host, port = address.split(":")
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(hello)
                async with asyncio.timeout(10):
                    try:
                        assert await reader.read(100) == b""
                    except ConnectionError:
                        continue  # cut off, as it should be
                    finally:
                        writer.close()
        assert await send(engine, pki.client()) == 200


async def test_syslog_by_tls(tmp_path: Path, pki: Pki) -> None:
    tls = f'cert = "{pki.issue("s")}", client_ca = "{pki.ca}"'
    syslog = f'[[input]]\ntype = "syslog"\ntransport = "tls"\nlisten = "127.0.0.1:0"\ntls = {{ {tls} }}\n'
    async with running(PROJECT + syslog + archive(tmp_path), tmp_path) as engine:
        address = address_of(engine, "syslog")
        host, port = address.split(":")
        client = pki.client(pki.issue("c"))
        before = await shown_certificate(address, client)
        _, writer = await asyncio.open_connection(host, int(port), ssl=client, server_hostname="localhost")
        writer.write(b"<13>Nov 22 01:02:03 web-1 app: one\n")
        pki.issue("s")
        assert await reload_file(engine) == []
        assert await shown_certificate(address, client) != before
        writer.write(b"<13>Nov 22 01:02:03 web-1 app: two\n")
        await writer.drain()
        await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 2)
        writer.close()
        assert not await is_let_in(address, pki.client(), b"<13>Nov 22 01:02:03 web-1 app: three\n")
    assert len(events_in(tmp_path / "out.ndjson")) == 2


async def test_from_daemon_to_daemon(tmp_path: Path, pki: Pki) -> None:
    """The output takes a new certificate at a reload, too."""
    tls = f'cert = "{pki.issue("s")}", client_ca = "{pki.ca}"'
    async with running(PROJECT + http(tls) + archive(tmp_path), tmp_path, name="centre") as centre:
        url = f"https://{address_of(centre, 'http')}"
        client = f'tls = {{ ca = "{pki.ca}", cert = "{pki.issue("c")}" }}\n'
        outputs = f'[[output]]\ntype = "dpipe"\nendpoints = ["{url}"]\n{client}'
        outputs += f'[[output]]\ntype = "http"\nname = "again"\nurl = "{url}/ingest/rs/again"\n{client}'
        plain = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'
        async with running(PROJECT + plain + outputs, tmp_path, name="edge") as edge:
            target = f"http://{address_of(edge, 'http')}/ingest/rs/app"
            async with aiohttp.ClientSession() as session:
                await session.post(target, data=GOOD)
                await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 2)
                pki.issue("c")
                assert await reload_file(edge) == []
                await session.post(target, data=GOOD)
                await until(lambda: len(events_in(tmp_path / "out.ndjson")) == 4)


async def test_an_output_that_cannot_trust_keeps_its_events(tmp_path: Path, pki: Pki) -> None:
    async with running(PROJECT + http(f'cert = "{pki.issue("s")}"') + archive(tmp_path), tmp_path, name="c") as centre:
        url = f"https://{address_of(centre, 'http')}"
        outputs = f'[[output]]\ntype = "dpipe"\nendpoints = ["{url}"]\n'
        plain = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:0"\n'
        async with running(PROJECT + plain + outputs, tmp_path, name="edge") as edge:
            async with aiohttp.ClientSession() as session:
                await session.post(f"http://{address_of(edge, 'http')}/ingest/rs/app", data=GOOD)
            await until(lambda: bool(edge.runners[0].last_error))
            assert edge.runners[0].saved.cursor == 0
    assert events_in(tmp_path / "out.ndjson") == []


async def test_the_admin_api_by_https(tmp_path: Path, pki: Pki) -> None:
    keys = f'admin_tls = {{ cert = "{pki.issue("s")}", client_ca = "{pki.ca}" }}\n'
    config = PROJECT + http(f'cert = "{pki.folder}/s.pem"') + archive(tmp_path)
    async with running(config, tmp_path, admin="0.0.0.0:0", engine_keys=keys) as engine:  # no token is needed
        assert engine.admin is not None
        address = engine.admin.address.replace("0.0.0.0", "127.0.0.1")
        assert not await is_let_in(address, pki.client())
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{address}/admin/stat", ssl=pki.client(pki.issue("c"))) as answer,
        ):
            assert json.loads(await answer.text())["journal"]["type"] == "disk"


async def test_commands_believe_the_certificate_of_their_config_and_no_other(pki: Pki, tmp_path: Path) -> None:
    """Without an authority to ask: the file that the config names is the one that the daemon has to show."""
    mine, other = pki.issue("s"), pki.issue("other")
    keys = f'admin_tls = {{ cert = "{mine}", client_ca = "{pki.ca}" }}\n'
    async with running(PROJECT + http(f'cert = "{mine}"') + archive(tmp_path), tmp_path, engine_keys=keys) as engine:
        assert engine.admin is not None

        def ping(trusted: str, cert: str) -> bool:
            client = AdminClient(engine.admin.address, tls=trusting(trusted, cert)) if engine.admin else None
            return client is not None and bool(client.get("/admin/ping")["pong"])

        assert await asyncio.to_thread(ping, mine, other)
        assert await asyncio.to_thread(ping, pki.ca, other)
        for trusted, cert in ((other, other), (mine, "")):
            with pytest.raises(DpipeError, match="no answer from the daemon"):
                await asyncio.to_thread(ping, trusted, cert)
    with pytest.raises(DpipeError, match="certificates"):
        trusting(str(tmp_path / "nothing.pem"))

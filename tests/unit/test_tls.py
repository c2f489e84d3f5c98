"""Files of TLS: what is wrong with them is said in one line, and new ones are taken while the context is in use."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError

from dpiped.certificates import read_certificates
from dpiped.tls import ClientTls, ServerTls, Tls, TlsError, problems_of, warnings_of
from tests.pki import Pki


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """The server's certificate as the client sees it. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    try:
        ends[1].read(1)  # of TLS 1.3 the server's verdict comes last
    except ssl.SSLWantReadError:
        pass
    return ends[0].getpeercert(binary_form=True) or b""


def test_times_are_those_that_openssl_shows(pki: Pki) -> None:
    for path in (pki.ca, pki.issue("server")):
        found = read_certificates(path)[0]
        shown = subprocess.run(
            ["openssl", "x509", "-in", path, "-noout", "-dates"], capture_output=True, text=True, check=True
        ).stdout
        times = [datetime.fromtimestamp(at, UTC).strftime("%b %e %H:%M:%S %Y GMT") for at in found[1:3]]
        assert shown.split("\n")[:2] == [f"notBefore={times[0]}", f"notAfter={times[1]}"]


def lapsed(folder: Path, begins: timedelta, ends: timedelta) -> str:
    path = folder / "lapsed.pem"
    now = datetime.now(UTC)
    issued = trustme.CA().issue_cert("localhost", not_before=now + begins, not_after=now + ends)
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


PROBLEMS: dict[str, tuple[Callable[[Pki], ServerTls | ClientTls], str]] = {
    "no-cert": (lambda pki: ServerTls(cert="/none.pem"), "/none.pem cannot be read: No such file"),
    "no-key": (lambda pki: ServerTls(cert=pki.issue("s"), key="/none.key"), "/none.key cannot be read: No such file"),
    "no-ca": (lambda pki: ServerTls(cert=pki.issue("s"), client_ca="/none.pem"), "/none.pem cannot be read: No such"),
    "ca-of-client": (lambda pki: ClientTls(ca="/none.pem"), "/none.pem cannot be read: No such file"),
    "other-key": (
        lambda pki: ServerTls(cert=pki.issue("s"), key=pki.issue("t")),
        "t.pem does not belong to the certificate",
    ),
    "no-key-inside": (lambda pki: ServerTls(cert=pki.ca), "holds no private key that can be used"),
    "no-pem": (lambda pki: ServerTls(cert=__file__), "holds no certificate in PEM form"),
    "damaged": (lambda pki: ServerTls(cert=damaged(pki)), "holds a certificate that is damaged"),
    "expired": (
        lambda pki: ServerTls(cert=lapsed(pki.folder, timedelta(days=-9), timedelta(days=-2))),
        f"lapsed.pem expired on {datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}",
    ),
    "expired-ca": (
        lambda pki: ServerTls(
            cert=pki.issue("s"), client_ca=lapsed(pki.folder, timedelta(days=-9), timedelta(days=-2))
        ),
        "lapsed.pem expired on",
    ),
    "not-yet": (
        lambda pki: ServerTls(cert=lapsed(pki.folder, timedelta(days=2), timedelta(days=9))),
        "lapsed.pem is not in force before",
    ),
    "passphrase": (
        lambda pki: ServerTls(cert=pki.issue("s"), key=locked(pki)),
        "has a passphrase: take it away",
    ),
}


def damaged(pki: Pki) -> str:
    path = pki.folder / "damaged.pem"
    text = Path(pki.ca).read_text().splitlines()
    path.write_text("\n".join([text[0], text[1][:40], text[-1]]))
    return str(path)


def locked(pki: Pki) -> str:
    path = pki.folder / "locked.key"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ED25519", "-aes128", "-pass", "pass:hush-hush", "-out", str(path)],
        check=True,
        capture_output=True,
    )
    return str(path)


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_wrong_is_one_line(name: str, pki: Pki) -> None:
    make, text = PROBLEMS[name]
    config = make(pki)
    problems = problems_of(config)
    assert len(problems) == 1
    assert text in problems[0]
    assert "\n" not in problems[0]
    with pytest.raises(TlsError):
        Tls(config)


def test_a_key_needs_its_certificate() -> None:
    with pytest.raises(ValidationError, match="key needs cert"):
        ClientTls(key="x.key")
    with pytest.raises(ValidationError):
        ServerTls(cert="")


def test_good_files_have_no_problem_and_mistakes_are_warned_of(pki: Pki, tmp_path: Path) -> None:
    cert = pki.issue("s")
    Path(cert).chmod(0o640)
    good = ServerTls(cert=cert, client_ca=pki.ca)
    assert (problems_of(good), list(warnings_of(good))) == ([], [])
    Path(cert).chmod(0o644)
    assert "chmod 0640" in next(iter(warnings_of(good)))
    soon = lapsed(tmp_path, timedelta(days=-9), timedelta(days=3, hours=1))
    Path(soon).chmod(0o600)
    assert list(warnings_of(ServerTls(cert=soon))) == [f"the certificate {soon} expires in 3 days"]
    assert "believed" in next(iter(warnings_of(ClientTls(verify=False))))


def test_a_new_certificate_is_taken_by_the_context_in_use(pki: Pki) -> None:
    tls = Tls(ServerTls(cert=pki.issue("s")))
    client = pki.client()
    before = handshake(tls.context, client)
    assert tls.renew()
    assert handshake(tls.context, client) == before
    pki.issue("s")
    assert handshake(tls.context, client) == before
    assert tls.renew()
    after = handshake(tls.context, client)
    assert after != before
    Path(tls.config.cert).write_text("nonsense")
    with pytest.raises(TlsError):
        tls.renew()
    assert handshake(tls.context, client) == after


def test_authorities_can_be_added_and_not_taken_out(pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path, "other")
    clients = tmp_path / "clients.pem"
    clients.write_text(Path(pki.ca).read_text())
    tls = Tls(ServerTls(cert=pki.issue("s"), client_ca=str(clients)))
    mine, others = pki.client(pki.issue("c")), pki.client(other.issue("d"))
    assert handshake(tls.context, mine)
    for refused in (others, pki.client()):
        with pytest.raises(ssl.SSLError):
            handshake(tls.context, refused)
    clients.write_text(Path(pki.ca).read_text() + Path(other.ca).read_text())
    assert tls.renew()
    assert handshake(tls.context, others)
    clients.write_text(Path(other.ca).read_text())
    assert not tls.renew()
    again = Tls(tls.config)
    with pytest.raises(ssl.SSLError):
        handshake(again.context, mine)


def test_another_kind_of_key_needs_a_new_context(pki: Pki, tmp_path: Path) -> None:
    tls = Tls(ServerTls(cert=pki.issue("s")))
    issued = pki.authority.issue_cert("localhost", key_type=trustme.KeyType.RSA)
    issued.private_key_and_cert_chain_pem.write_to_path(tls.config.cert)
    assert not tls.renew()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(pki: Pki) -> None:
    tls = Tls(ServerTls(cert=pki.issue("s")))
    tls.context.set_ciphers("DEFAULT@SECLEVEL=0")  # else the system's policy alone would refuse them
    assert Tls(ClientTls()).context.minimum_version == ssl.TLSVersion.TLSv1_2
    for version, is_taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        client = pki.client()
        client.set_ciphers("DEFAULT@SECLEVEL=0")
        client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        client.maximum_version = version
        if is_taken:
            assert handshake(tls.context, client)
        else:
            with pytest.raises(ssl.SSLError):
                handshake(tls.context, client)


def test_a_client_verifies_unless_told_not_to(pki: Pki, tmp_path: Path) -> None:
    server = Tls(ServerTls(cert=pki.issue("s", "elsewhere.example"))).context
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'localhost'"):
        handshake(server, Tls(ClientTls(ca=pki.ca)).context)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(Tls(ServerTls(cert=pki.issue("t"))).context, Tls(ClientTls(ca=Pki(tmp_path, "o").ca)).context)
    assert handshake(Tls(ServerTls(cert=pki.issue("t"))).context, Tls(ClientTls(ca=pki.ca)).context)
    assert handshake(server, Tls(ClientTls(verify=False)).context)


def test_reading_certificates_is_quick_enough_for_a_check() -> None:
    """Of all the authorities of a system, where there are any."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None or not Path(paths.cafile).is_file():
        pytest.skip("this system has no file of authorities")
    found = read_certificates(paths.cafile)
    assert len(found) > 10
    assert any(certificate.not_after > time.time() for certificate in found)

"""TLS, the same everywhere: one table for who listens, one for who dials, and contexts that take new certificates.

    tls = { cert = "server.pem", key = "server.key", client_ca = "clients.pem" }             who listens
    tls = { ca = "ca.pem", cert = "client.pem", key = "client.key" }                         who dials

TLS 1.2 at least, suites as OpenSSL orders them. A context is made once and lives as long as its socket: a certificate
that was exchanged on the same path is loaded into it at a reload, so that new connections get the new one and those
that are open stay. Only an authority, or a certificate with another kind of key, cannot be taken out of a context: then
its owner has to start again.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from dpiped.certificates import Certificate, read_certificates
from dpiped.config.base import ConfigModel
from dpiped.errors import DpipeError, FatalPluginError

HANDSHAKE_SECS = 10.0
"""A peer that has not finished its handshake by then is cut off."""
WARN_BEFORE_SECS = 14 * 24 * 3600
"""A certificate that ends sooner is worth a word of `check`."""


MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""What OpenSSL calls a key of another certificate; the last one if it is of another kind."""


class ServerTls(ConfigModel):
    """Who listens. With `client_ca` only clients with a certificate of that authority get in."""

    cert: str = Field(min_length=1, examples=["/etc/dpipe/server.pem"])
    """PEM file of the certificate, with those between it and the authority."""
    key: str = Field(default="", examples=["/etc/dpipe/server.key"])
    """PEM file of its key, without a passphrase; empty: it is in the file of the certificate."""
    client_ca: str = Field(default="", examples=["/etc/dpipe/clients.pem"])
    """PEM file of the authorities whose clients get in (mTLS); empty: no certificate is asked for."""


class ClientTls(ConfigModel):
    """Who dials."""

    ca: str = Field(default="", examples=["/etc/dpipe/ca.pem"])
    """PEM file of the authorities that the server's certificate may be of; empty: those of the system."""
    cert: str = Field(default="", examples=["/etc/dpipe/client.pem"])
    """PEM file of the certificate that is shown to the server (mTLS); empty: none is."""
    key: str = Field(default="", examples=["/etc/dpipe/client.key"])
    """PEM file of its key, without a passphrase; empty: it is in the file of the certificate."""
    verify: bool = True
    """False: whoever answers is believed. For tests only."""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.key and not self.cert:
            raise ValueError("key needs cert = FILE, the certificate it belongs to")
        return self


SERVER_EXAMPLE = {
    "cert": "/etc/dpipe/server.pem",
    "key": "/etc/dpipe/server.key",
    "client_ca": "/etc/dpipe/clients.pem",
}
"""What samples show."""


class TlsError(DpipeError):
    """A certificate, key or authority cannot be used; the text says which file and why."""


class Tls:
    """A context that can take its files again. Not thread-safe. Taking them again costs about a millisecond; making one
    with the authorities of the system costs 20.

    Raises:
        TlsError: when made.
    """

    def __init__(self, config: ServerTls | ClientTls) -> None:
        self.config = config
        self.context = _make_context(config)
        if isinstance(config, ClientTls) and config.verify and not config.ca:
            self.context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        self._authorities, self._key_kind = _authorities(config), _key_kind(config)

    def renew(self) -> bool:
        """Loads all files again, for new connections. False: something is gone that only a new context can forget.

        Raises TlsError when they cannot be used, and then nothing has changed.
        """
        _make_context(self.config)
        authorities = _authorities(self.config)
        if not self._authorities <= authorities or self._key_kind != _key_kind(self.config):
            return False
        _load(self.context, self.config)
        self._authorities = authorities
        return True


async def client_tls(config: ClientTls, urls: Iterable[str]) -> Tls | None:
    """For an output that sends to these URLs; None where none is https.

    Raises:
        FatalPluginError: a file cannot be used.
    """
    if not any(url.startswith("https:") for url in urls):
        return None
    try:
        return await asyncio.to_thread(Tls, config)
    except TlsError as exc:
        raise FatalPluginError(str(exc)) from exc


def problems_of(config: ServerTls | ClientTls) -> list[str]:
    """What is wrong with the files, one line each; empty when a context can be made."""
    try:
        _make_context(config)
    except TlsError as exc:
        return [str(exc)]
    return []


def warnings_of(config: ServerTls | ClientTls) -> Iterator[str]:
    """What works and is probably a mistake. The files have been found good."""
    if isinstance(config, ClientTls) and not config.verify:
        yield "verify = false: whoever answers is believed; that is for tests only"
    if config.cert and Path(config.key or config.cert).stat().st_mode & 0o004:
        yield f"the key in {config.key or config.cert} can be read by every user of this machine: chmod 0640"
    if config.cert and (left := _own(config.cert).not_after - time.time()) < WARN_BEFORE_SECS:
        yield f"the certificate {config.cert} expires in {left / 86400:.0f} days"


def _make_context(config: ServerTls | ClientTls) -> ssl.SSLContext:
    if isinstance(config, ServerTls):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED if config.client_ca else ssl.CERT_NONE
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not config.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load(context, config)
    return context


def _load(context: ssl.SSLContext, config: ServerTls | ClientTls) -> None:
    """The files into a context, every one of them looked at first, for OpenSSL names neither file nor reason."""
    if config.cert:
        _check_current(config.cert, [_own(config.cert)])
        _load_pair(context, config.cert, config.key)
    if authority := _authority_file(config):
        _check_current(authority, _read(authority))
        try:
            context.load_verify_locations(authority)
        except (OSError, ValueError) as exc:
            raise TlsError(f"{authority} cannot be used: {_reason(exc)}") from exc


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    source = key or cert
    try:
        Path(source).read_bytes()
        context.load_cert_chain(cert, key or None, password=_no_passphrase)
    except ssl.SSLError as exc:
        if exc.reason in MISMATCHES:
            raise TlsError(f"the key in {source} does not belong to the certificate {cert}") from exc
        raise TlsError(f"{source} holds no private key that can be used ({_reason(exc)})") from exc
    except ValueError as exc:
        raise TlsError(f"the key in {source} has a passphrase: take it away, nobody could type it") from exc
    except OSError as exc:
        raise TlsError(f"{source} cannot be read: {exc.strerror}") from exc


def _no_passphrase() -> str:
    """OpenSSL would ask at the terminal otherwise."""
    raise ValueError("passphrase")


def _check_current(path: str, found: list[Certificate]) -> None:
    """Of a bundle one that is in force is enough."""
    now = time.time()
    if all(certificate.not_after < now for certificate in found):
        ended = time.strftime("%Y-%m-%d", time.gmtime(max(certificate.not_after for certificate in found)))
        raise TlsError(f"the certificate {path} expired on {ended}")
    if all(certificate.not_before > now for certificate in found):
        begins = time.strftime("%Y-%m-%d", time.gmtime(min(certificate.not_before for certificate in found)))
        raise TlsError(f"the certificate {path} is not in force before {begins}")


def _own(path: str) -> Certificate:
    return _read(path)[0]


def _read(path: str) -> list[Certificate]:
    try:
        return read_certificates(path)
    except OSError as exc:
        raise TlsError(f"{path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise TlsError(f"{path} {exc}") from exc


def _authority_file(config: ServerTls | ClientTls) -> str:
    return config.client_ca if isinstance(config, ServerTls) else config.ca


def _authorities(config: ServerTls | ClientTls) -> frozenset[bytes]:
    path = _authority_file(config)
    return frozenset(certificate.der for certificate in _read(path)) if path else frozenset()


def _key_kind(config: ServerTls | ClientTls) -> bytes:
    return _own(config.cert).key_kind if config.cert else b""


def _reason(exc: Exception) -> str:
    reason = exc.reason if isinstance(exc, ssl.SSLError) else None
    return (reason or str(exc)).replace("_", " ").lower()

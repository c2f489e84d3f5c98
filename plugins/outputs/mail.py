"""Output `mail`: tells people of events by mail, of many of them in one.

Delivery: at least once. Events wait in a pool that is saved with the cursor, so a mail server that is down, a stop or a
kill loses none; a crash right behind the server's answer sends the same mail again, with the same Message-ID. An event
that the server refuses for good is told without its text, and counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from contextlib import suppress
from email.errors import MessageError, ObsoleteHeaderDefect
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate, parseaddr
from typing import Annotated, Any, Literal

import aiosmtplib
from pydantic import AfterValidator, Field, SecretStr

from dpiped.api import (
    ClientTls,
    Digest,
    FatalPluginError,
    Listen,
    MessageRefusedError,
    PooledConfig,
    PooledOutput,
    TemporaryError,
    Tls,
    TlsError,
    as_html,
    as_text,
    headline,
    register,
    split_listen,
)

LOGIN_AGAIN_SECS = 60.0
"""A server that refuses a login may lock the account after some more of them."""
GOODBYE_SECS = 2.0
_headers = HeaderRegistry()
_ADDRESS = "expected one mail address in ASCII, such as ops@example.com or Ops <ops@example.com>"


def _check_address(text: str) -> str:
    """One address, with or without a name; no list, no line break, nothing that a header could not hold."""
    try:
        header: Any = _headers("To", text)
    except (ValueError, IndexError, AttributeError, MessageError) as exc:  # some of them are defects of the parser
        raise ValueError(_ADDRESS) from exc
    found = header.addresses
    broken = any(not isinstance(defect, ObsoleteHeaderDefect) for defect in header.defects)
    if not text.isprintable() or broken or len(found) != 1 or not (found[0].username and found[0].domain):
        raise ValueError(_ADDRESS)
    if not found[0].addr_spec.isascii():
        raise ValueError(_ADDRESS)
    return text


MailAddress = Annotated[str, AfterValidator(_check_address)]


class MailConfig(PooledConfig):
    to: tuple[MailAddress, ...] = Field(min_length=1, examples=[["ops@example.com"]])
    """Who gets the mails."""
    sender: MailAddress = Field(examples=["dpipe@example.com"])
    """Whom they are from."""
    server: Listen | None = Field(default=None, examples=["smtp.example.com:587"])
    """HOST:PORT of the SMTP server; without it `sendmail` is used."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` as on port 587, `tls` from the first byte as on port 465, or everything in clear text."""
    tls: ClientTls = ClientTls()
    """Which authorities are trusted, which certificate is shown."""
    user: str = ""
    """For a server that wants a login."""
    password: SecretStr | None = None
    """Its password; write it as `${env:NAME}`."""
    sendmail: str = "/usr/sbin/sendmail"
    """The program that takes a mail when no `server` is set; it is called with -i and the addresses."""
    timeout_secs: Annotated[float, Field(gt=0)] = 30.0
    """Time for one mail, connecting included."""


@register("mail")
class MailOutput(PooledOutput[MailConfig]):
    @classmethod
    def check(cls, config: MailConfig) -> list[str]:
        problems = []
        if bool(config.user) != (config.password is not None):
            problems.append("user and password belong together: set both, or none")
        if config.user and config.server is None:
            problems.append("user is for a server: set server = HOST:PORT, or take user and password away")
        return problems

    async def open(self, saved: bytes | None) -> None:
        self._tls: Tls | None = None
        if self.config.server is not None and self.config.security != "none":
            try:
                self._tls = await asyncio.to_thread(Tls, self.config.tls)
            except TlsError as exc:
                raise FatalPluginError(str(exc)) from exc
        await super().open(saved)

    async def deliver(self, digest: Digest) -> None:
        mail = await asyncio.to_thread(self._compose, digest)
        addresses = [parseaddr(address)[1] for address in self.config.to]
        if self.config.server is None:
            await self._by_program(mail, addresses)
        else:
            await self._by_server(self.config.server, mail, addresses)

    def _compose(self, digest: Digest) -> bytes:
        config, mail = self.config, EmailMessage(policy=SMTP_POLICY)
        names = "".join(sorted(entry.name for entry in digest.entries))
        identity = hashlib.sha256(f"{self.context.lane} {names}".encode()).hexdigest()[:32]
        mail["From"] = config.sender
        mail["To"] = ", ".join(config.to)
        mail["Subject"] = headline(config.subject, digest)
        mail["Date"] = formatdate(localtime=False)
        mail["Message-ID"] = f"<{identity}@{parseaddr(config.sender)[1].rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # no answers of those on holiday (RFC 3834)
        mail.set_content(as_text(config.intro, digest, config.timezone))
        mail.add_alternative(as_html(config.intro, digest, config.timezone), subtype="html")
        return mail.as_bytes()

    async def _by_server(self, server: str, mail: bytes, addresses: list[str]) -> None:
        host, port = split_listen(server)
        config = self.config
        client = aiosmtplib.SMTP(
            hostname=host,
            port=port,
            local_hostname=socket.gethostname(),  # else the whole name is looked up, which blocks
            timeout=config.timeout_secs,
            use_tls=config.security == "tls",
            start_tls=config.security == "starttls",
            tls_context=self._tls.context if self._tls is not None else None,
            username=config.user or None,
            password=config.password.get_secret_value() if config.password else None,
        )
        try:
            async with asyncio.timeout(config.timeout_secs):
                await client.connect()
                refused, _ = await client.sendmail(parseaddr(config.sender)[1], addresses, mail)
        except aiosmtplib.SMTPAuthenticationError as exc:
            text = f"{server} refuses the login ({_reason(exc)}): check user and password"
            raise TemporaryError(text, LOGIN_AGAIN_SECS) from None
        except TimeoutError:
            raise TemporaryError(f"send mail to {server}: no answer after {config.timeout_secs:g} s") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as exc:
            text = f"send mail to {server}: {_reason(exc)}"
            raise (MessageRefusedError(text) if _is_of_mail(exc) else TemporaryError(text)) from None
        else:
            await _say_goodbye(client)
        finally:
            client.close()
        for address, answer in refused.items():
            text = f"{address}: {answer.code} {answer.message}"
            self.context.telemetry.say(
                "the mail server refuses an address", plugin=self.context.name, detail=text[:200], level=logging.WARNING
            )

    async def _by_program(self, mail: bytes, addresses: list[str]) -> None:
        config, pipe = self.config, asyncio.subprocess.PIPE
        command = (config.sendmail, "-i", "-f", parseaddr(config.sender)[1], "--", *addresses)
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as exc:
            raise TemporaryError(f"start {config.sendmail}") from exc
        try:
            async with asyncio.timeout(config.timeout_secs):
                out, err = await process.communicate(mail)
        except TimeoutError:
            raise TemporaryError(f"{config.sendmail} has not ended after {config.timeout_secs:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):  # it has just ended
                    process.kill()
                await process.wait()
        if process.returncode:
            detail = (err or out).decode("utf-8", "replace").strip()[:200]
            raise TemporaryError(f"{config.sendmail} ended with {process.returncode}: {detail}")

    def renew(self) -> bool:
        tls: Tls | None = getattr(self, "_tls", None)
        return tls is None or tls.renew()

    def status(self) -> dict[str, Any]:
        return {**super().status(), "server": self.config.server or self.config.sendmail}


async def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    """The mail is delivered: how the connection ends cannot change that."""
    try:
        await client.quit(timeout=GOODBYE_SECS)
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        pass


def _is_of_mail(exc: Exception) -> bool:
    """Whether another mail may be taken, and this one never: 5xx to DATA, and 552 to the size that goes with the sender
    (RFC 1870). Any other 5xx is of login, sender or addresses, which all mails have; so may one to DATA be, and then a
    mail without a word of the events is refused as well.
    """
    if isinstance(exc, aiosmtplib.SMTPDataError):
        return exc.code >= 500
    return isinstance(exc, aiosmtplib.SMTPSenderRefused) and exc.code == 552


def _reason(exc: Exception) -> str:
    """A line; a refusal of all addresses says why the first was refused."""
    if isinstance(exc, aiosmtplib.SMTPRecipientsRefused) and exc.recipients:
        exc = exc.recipients[0]
    if isinstance(exc, aiosmtplib.SMTPResponseException):
        return f"{exc.code} {exc.message}"[:200].replace("\n", " ")
    return f"{type(exc).__name__} {exc}"[:200].replace("\n", " ").strip()

"""Output `mail`: tells people of events by mail, of many of them in one.

Delivery: at least once. Events wait in a pool that is saved with the cursor, so a mail server that is down, a stop or a
kill loses none; a crash right behind the server's answer sends the same mail again, with the same Message-ID. An event
that the server refuses for good is told without its text, and counted. Addresses that it refuses for now (4xx) get the
same mail later, alone; after a day it is given up, and counted.
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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import aiosmtplib
from pydantic import AfterValidator, Field, SecretStr

from dpiped.api import (
    ClientTls,
    DeliveryRetried,
    Digest,
    EventsDropped,
    FatalPluginError,
    Listen,
    MessageRefusedError,
    Owed,
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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiosmtplib import SMTPResponse

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
        self._forget_strangers()

    def due_secs(self) -> float | None:
        both = (super().due_secs(), self.pool.owed_secs(self.now_ms()))
        return min((secs for secs in both if secs is not None), default=None)

    async def act(self) -> None:
        if super().due_secs() == 0.0:
            await super().act()
        else:  # what is owed comes behind, so that nobody else waits for it
            await self._send_owed()

    async def deliver(self, digest: Digest) -> None:
        mail = await asyncio.to_thread(self._compose, digest)
        addresses, now = self._addresses(), self.now_ms()
        refused = await self._send(mail, addresses)
        if len(refused) == len(addresses):  # nobody has it: the events stay in the pool
            raise TemporaryError(f"send mail to {self.config.server}: {_first(refused)}")
        if later := self._for_now(refused):
            events = sum(entry.times for entry in digest.entries)
            self._owe(Owed(mail, tuple(later), events, since_ms=now, tried_ms=now), _first(later))

    def _addresses(self) -> list[str]:
        return list(dict.fromkeys(parseaddr(address)[1] for address in self.config.to))

    def _for_now(self, refused: Mapping[str, SMTPResponse]) -> dict[str, SMTPResponse]:
        """Those that may get the mail later (4xx); of the others the log tells."""
        telemetry, name = self.context.telemetry, self.context.name
        for address, answer in refused.items():
            if answer.code >= 500:
                detail = f"{address}: {_said(answer)}"
                telemetry.say("the mail server refuses an address", plugin=name, detail=detail, level=logging.WARNING)
        return {address: answer for address, answer in refused.items() if answer.code < 500}

    async def _send_owed(self) -> None:
        """One mail again, as the others got it. Where the server takes none now, the runner waits before it asks for
        the next one: a server that refuses a login is not asked once for each."""
        now = self.now_ms()
        owed = next((one for one in self.pool.owed if not one.due_secs(now)), None)
        if owed is None:  # the clock was set
            return
        try:
            refused = await self._send(owed.message, owed.addresses)
        except MessageRefusedError as exc:
            self.pool.settle(owed)
            self._give_up(owed, str(exc))
        except TemporaryError as exc:
            self.pool.settle(owed)
            if self._owe(owed.tried(now), str(exc)):
                raise
        else:
            self.pool.settle(owed)
            if later := self._for_now(refused):
                self._owe(owed.tried(now).only(later), _first(later))

    def _owe(self, owed: Owed, reason: str) -> bool:
        """Keeps it for the next try; False when it has been tried for a day and is given up."""
        now, error = self.now_ms(), f"{', '.join(owed.addresses)}: {reason}"[:300]
        if owed.is_over(now):
            self._give_up(owed, reason)
            return False
        again = round(owed.due_secs(now), 2)
        self.context.telemetry.emit(DeliveryRetried(plugin=self.context.name, error=error, again_secs=again))
        for old in self.pool.owe(owed):
            self._give_up(old, "more is owed than there is room for")
        return True

    def _give_up(self, owed: Owed, reason: str) -> None:
        telemetry, name = self.context.telemetry, self.context.name
        detail = f"{', '.join(owed.addresses)}: {reason}"[:300]
        telemetry.say("a mail is given up for some addresses", plugin=name, detail=detail, level=logging.WARNING)
        telemetry.emit(EventsDropped(plugin=name, amount=owed.events, reason="refused_address"))

    def _forget_strangers(self) -> None:
        """Who was taken out of the config gets nothing more."""
        addresses = self._addresses()
        for owed in self.pool.owed:
            if gone := [address for address in owed.addresses if address not in addresses]:
                self.pool.settle(owed)
                self._give_up(owed.only(gone), "not in the config any more")
                if left := [address for address in owed.addresses if address in addresses]:
                    self.pool.owe(owed.only(left))

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

    async def _send(self, mail: bytes, addresses: Sequence[str]) -> dict[str, SMTPResponse]:
        """Whom the server refused, with its answers; all: nobody has got the mail."""
        if self.config.server is not None:
            return await self._by_server(self.config.server, mail, addresses)
        await self._by_program(mail, addresses)
        return {}

    async def _by_server(self, server: str, mail: bytes, addresses: Sequence[str]) -> dict[str, SMTPResponse]:
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
                refused, _ = await client.sendmail(parseaddr(config.sender)[1], list(addresses), mail)
        except aiosmtplib.SMTPRecipientsRefused as exc:
            return {one.recipient: aiosmtplib.SMTPResponse(one.code, one.message) for one in exc.recipients}
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
            return refused
        finally:
            client.close()

    async def _by_program(self, mail: bytes, addresses: Sequence[str]) -> None:
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
        server = self.config.server or self.config.sendmail
        return {**super().status(), "owed": len(self.pool.owed), "server": server}


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
    """A line."""
    if isinstance(exc, aiosmtplib.SMTPResponseException):
        return _said(exc)
    return f"{type(exc).__name__} {exc}"[:200].replace("\n", " ").strip()


def _first(refused: Mapping[str, SMTPResponse]) -> str:
    return _said(next(iter(refused.values())))


def _said(answer: SMTPResponse | aiosmtplib.SMTPResponseException) -> str:
    return f"{answer.code} {answer.message}"[:200].replace("\n", " ")

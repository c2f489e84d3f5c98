"""A real SMTP server for tests, with STARTTLS or TLS and a login; it keeps what it takes."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope

USER, PASSWORD = "robot", "let-me-in-please"


class Mailbox:
    """Handler of the server. `answer` is what it says to a mail; only 250 keeps it. What holds the text `spam` it never
    takes, nor anything of or for an address in `refuses`, and now nothing for one in `busy`. At the mail with the
    number `stalls_at` it falls silent."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.logins: list[str] = []
        self.tries = 0
        self.answer = "250 OK"
        self.refuses: set[str] = set()
        self.busy: set[str] = set()
        self.spam = ""
        self.stalls_at = 0
        self.port = 0

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(envelope.content, policy=default) for envelope in self.envelopes]  # type: ignore

    @property
    def texts(self) -> list[str]:
        return [part_of(mail, "plain") for mail in self.mails]

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.refuses:
            return "550 not from here"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.refuses:
            return "550 no such user here"
        if address in self.busy:
            return "450 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        self.tries += 1
        if self.tries == self.stalls_at:
            await asyncio.Event().wait()
        if self.spam and self.spam in part_of(message_from_bytes(envelope.content, policy=default), "plain"):  # type: ignore
            return "554 5.7.1 this is spam"
        if self.answer.startswith("250"):
            self.envelopes.append(envelope)
        return self.answer

    def check_login(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append(data.login.decode())
        return AuthResult(success=(data.login, data.password) == (USER.encode(), PASSWORD.encode()), handled=False)


def part_of(mail: EmailMessage, kind: str) -> str:
    """The text of the part `plain` or `html`."""
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


@asynccontextmanager
async def smtp_server(
    *,
    security: Literal["none", "starttls", "tls"] = "none",
    tls: ssl.SSLContext | None = None,
    login: bool = False,
    mailbox: Mailbox | None = None,
    port: int = 0,
    most_bytes: int = 32 << 20,
) -> AsyncIterator[Mailbox]:
    """Serves until the end; with a `mailbox` of before it is the same server that came back."""
    box = mailbox or Mailbox()
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a login without STARTTLS
            return SMTP(
                box,
                data_size_limit=most_bytes,
                hostname="localhost",  # else it asks the network for its own name, and the loop stands still meanwhile
                loop=loop,
                tls_context=tls if security == "starttls" else None,
                require_starttls=security == "starttls",
                authenticator=box.check_login if login else None,
                auth_required=login,
                auth_require_tls=security == "starttls",
            )

    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=tls if security == "tls" else None)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()

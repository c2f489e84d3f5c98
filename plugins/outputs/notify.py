"""Output `notify`: tells people of events in chats, on pagers and by web hooks, by way of Apprise.

Delivery: at least once. Events wait in a pool that is saved with the cursor, so a service that is down, a stop or a
kill loses none; a crash right behind the service's answer sends the same message again.

Apprise logs what it does, URLs and answers included. None of it gets into the log of the daemon: of what it says only
the status that a service answered is taken.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from contextlib import suppress
from typing import Annotated, Any

import apprise
from pydantic import AfterValidator, Field, SecretStr

from dpiped.api import SEVERITIES, Digest, PooledConfig, PooledOutput, TemporaryError, as_text, headline, register

REFUSED_AGAIN_SECS = 60.0
"""A service that refuses credentials may lock them after some more tries."""
MAX_LISTED = 10
"""Of more events a message only tells how many there are: people read it on a phone."""
_SCHEME = re.compile(r"[A-Za-z0-9]+(?=://)")
_STATUS = re.compile(r"error=(\d{3})\b")


class _Heard(logging.Handler):
    """What Apprise says in this thread, in place of any other log."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def start(self) -> None:
        self._here.texts = []

    def emit(self, record: logging.LogRecord) -> None:
        if (texts := getattr(self._here, "texts", None)) is not None:
            texts.append(record.getMessage())

    def stop(self) -> list[str]:
        """What was said since `start`."""
        texts: list[str] = self._here.texts
        del self._here.texts
        return texts


_heard = _Heard()
_logger = logging.getLogger("apprise")
_logger.addHandler(_heard)
_logger.propagate = False
_logger.setLevel(logging.WARNING)


def _service(url: SecretStr) -> Any:
    """The service of a URL; None if Apprise cannot read it."""
    # both of the last keep it in the thread that calls: threads of its own would hold up the end of the process
    asset = apprise.AppriseAsset(app_id="dpipe", app_desc="dpipe", async_mode=False, service_timeout=0)
    return apprise.Apprise.instantiate(url.get_secret_value(), asset=asset)


def _check_url(url: SecretStr) -> SecretStr:
    if not _SCHEME.match(url.get_secret_value()):
        raise ValueError("expected an Apprise URL such as tgram://TOKEN/CHAT")
    if _service(url) is None:
        text = "Apprise knows no such service, or misses a part of the URL: see https://appriseit.com/services/"
        raise ValueError(f"{_scheme_of(url)}://..: {text}")
    return url


ServiceUrl = Annotated[SecretStr, AfterValidator(_check_url)]


class NotifyConfig(PooledConfig):
    url: ServiceUrl = Field(examples=["json://127.0.0.1:8080/hook"])
    """Apprise URL of one service, such as `tgram://TOKEN/CHAT` or `pagerduty://KEY@ROUTING`; it holds secrets, so write
    it as `${env:NAME}`. One output for each service: then none waits for another."""
    timeout_secs: Annotated[float, Field(gt=0)] = 30.0
    """Time for one message, connecting included."""


@register("notify")
class NotifyOutput(PooledOutput[NotifyConfig]):
    _thread: threading.Thread | None = None

    async def open(self, saved: bytes | None) -> None:
        await super().open(saved)
        service = _service(self.config.url)
        if "overflow=" not in self.config.url.get_secret_value():  # else a long message may be refused for ever
            service.overflow_mode = apprise.OverflowMode.TRUNCATE
        self._apprise = apprise.Apprise()
        self._apprise.add(service)
        self._scheme = _scheme_of(self.config.url)

    async def deliver(self, digest: Digest) -> None:
        if self._thread is not None and self._thread.is_alive():
            raise TemporaryError(f"{self._scheme}: the last try has still no answer")
        config, done = self.config, asyncio.get_running_loop().create_future()
        arguments = {
            "title": headline(config.subject, digest),
            "body": as_text(config.intro, digest, config.timezone, MAX_LISTED),
            "notify_type": _kind(digest),
            "body_format": apprise.NotifyFormat.TEXT,
        }
        # not of the pool of threads: a stop would wait for a service that does not answer
        self._thread = threading.Thread(target=self._send, args=(arguments, done), name="notify", daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(config.timeout_secs):
                said = await done
        except TimeoutError:
            raise TemporaryError(f"{self._scheme}: no answer after {config.timeout_secs:g} s") from None
        if said is not None:
            raise self._refusal(" ".join(said))

    def _send(self, arguments: dict[str, Any], done: asyncio.Future[list[str] | None]) -> None:
        """In a thread. None: it was taken; else what Apprise said."""
        _heard.start()
        try:
            taken = bool(self._apprise.notify(**arguments))
        except Exception as exc:  # of any of a hundred services, and its text may hold the URL
            taken = False
            _logger.warning("%s", type(exc).__name__)
        said = _heard.stop()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            done.get_loop().call_soon_threadsafe(_settle, done, None if taken else said)

    def _refusal(self, said: str) -> TemporaryError:
        """Without a word of Apprise, which may quote the URL."""
        status = _STATUS.search(said)
        if status is None:
            reached = "could not be reached" if "onnection" in said else "did not take the message"
            return TemporaryError(f"{self._scheme}: the service {reached}")
        text = f"{self._scheme}: the service answered {status[1]}"
        if status[1] in ("401", "403", "404"):
            return TemporaryError(f"{text}: check the credentials and the target in url", REFUSED_AGAIN_SECS)
        return TemporaryError(text)

    def status(self) -> dict[str, object]:
        return {**super().status(), "service": _scheme_of(self.config.url)}


def _scheme_of(url: SecretStr) -> str:
    """The only part of a URL that is shown."""
    return url.get_secret_value().partition("://")[0].lower()


def _kind(digest: Digest) -> apprise.NotifyType:
    """What pagers and chats make colours and urgencies of."""
    if digest.resolved:
        return apprise.NotifyType.SUCCESS
    if digest.top.severity >= SEVERITIES["error"]:
        return apprise.NotifyType.FAILURE
    return apprise.NotifyType.WARNING if digest.top.severity >= SEVERITIES["warning"] else apprise.NotifyType.INFO


def _settle(done: asyncio.Future[list[str] | None], said: list[str] | None) -> None:
    if not done.done():  # else nobody waits any more
        done.set_result(said)

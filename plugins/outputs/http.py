"""Output `http`: sends events to a web service, as NDJSON or as one JSON array a request.

Delivery: at least once. What got no answer is sent again. A request that is too large for the service (413), or has an
event that it does not take (400, 422), is halved until the others have arrived; those events go to the dead letter. So
does what is refused with another status, and a whole part once 100 single events were refused one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import aiohttp
import zstandard
from pydantic import Field, SecretStr

from dpiped.api import (
    RETRY_LATER,
    Batch,
    ClientTls,
    Output,
    PluginConfig,
    PositiveSecs,
    RejectedError,
    TemporaryError,
    Tls,
    Url,
    bearer,
    client_tls,
    gzip_bytes,
    register,
    retry_after,
    text_of,
)

OF_AN_EVENT = (400, 413, 422)
"""What is refused so as a whole may be taken in parts."""
MANY_REFUSED = 100
"""After so many single events in a row the service seems to take none: to halve on would be two requests an event."""


class HttpOutputConfig(PluginConfig):
    url: Url = Field(examples=["http://127.0.0.1:8080/events"])
    """Where batches are sent."""
    method: Literal["POST", "PUT"] = "POST"
    """Method of the requests."""
    format: Literal["ndjson", "array"] = "ndjson"
    """One object a line, or one JSON array."""
    compression: Literal["none", "gzip", "zstd"] = "none"
    """Of the bodies; said in `Content-Encoding`."""
    token: SecretStr | None = None
    """Bearer token; write it as `${env:NAME}`."""
    user: str = ""
    """User name of basic authentication."""
    password: SecretStr | None = None
    """Its password; write it as `${env:NAME}`."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """More headers; their values are kept secret."""
    tls: ClientTls = ClientTls()
    """For https: which authorities are trusted, which certificate is shown."""
    timeout_secs: PositiveSecs = 30.0
    """Time for one request, connecting included."""


@dataclass
class _Delivery:
    """What is left of a batch; a part that was answered is not sent again, whatever becomes of the next."""

    batch: Batch
    parts: list[tuple[int, bytes]]
    """(index of the first event, events), the next one last."""
    reasons: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    """Single events since the last that was taken."""


@register("http")
class HttpOutput(Output[HttpOutputConfig]):
    _delivery: _Delivery | None = None

    @classmethod
    def check(cls, config: HttpOutputConfig) -> list[str]:
        if config.token is not None and config.user:
            return ["set token or user and password, not both"]
        return []

    async def open(self, saved: bytes | None) -> None:
        config = self.config
        kind = "application/x-ndjson" if config.format == "ndjson" else "application/json"
        headers = {"Content-Type": kind, **bearer(config.token)}
        if config.compression != "none":
            headers["Content-Encoding"] = config.compression
        headers |= {name: value.get_secret_value() for name, value in config.headers.items()}
        password = config.password.get_secret_value() if config.password else ""
        auth = aiohttp.BasicAuth(config.user, password) if config.user else None
        self._tls = await client_tls(config.tls, [str(config.url)])
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls.context if self._tls is not None else True),
            timeout=aiohttp.ClientTimeout(total=config.timeout_secs),
            headers=headers,
            auth=auth,
        )

    async def write(self, batch: Batch) -> None:
        if self._delivery is None or self._delivery.batch is not batch:
            self._delivery = _Delivery(batch, [(0, batch.body)])
        delivery = self._delivery
        while delivery.parts:
            status, detail = await self._send(delivery.parts[-1][1])
            first, body = delivery.parts.pop()
            count = body.count(b"\n")
            if status < 300:
                delivery.refused = 0
            elif status in OF_AN_EVENT and count > 1 and delivery.refused < MANY_REFUSED:
                lines, middle = body.splitlines(keepends=True), count // 2
                delivery.parts += [(first + middle, b"".join(lines[middle:])), (first, b"".join(lines[:middle]))]
            else:
                delivery.refused += 1
                delivery.reasons |= dict.fromkeys(range(first, first + count), f"{status} {detail[:200]}")
        self._delivery = None
        if delivery.reasons:
            raise RejectedError(delivery.reasons)

    async def _send(self, body: bytes) -> tuple[int, str]:
        """(status, text) of an answer that will be the same next time."""
        url, shown = str(self.config.url), str(self.config.url).partition("?")[0]  # a query may hold a key
        try:
            async with self._session.request(
                self.config.method, url, data=self._encode(body), allow_redirects=False
            ) as answer:
                detail = await text_of(answer)
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise TemporaryError(f"send to {shown}") from exc
        if answer.status >= 500 or answer.status in RETRY_LATER:
            raise TemporaryError(f"{shown} answered {answer.status}", retry_after(answer.headers))
        if answer.status in (401, 403):
            raise TemporaryError(f"{shown} answered {answer.status}: check the credentials")
        if 300 <= answer.status < 400:  # to follow would send events and credentials who knows where
            raise TemporaryError(f"{shown} answered {answer.status}: it has moved, set url to its new place")
        return answer.status, detail

    def _encode(self, body: bytes) -> bytes:
        if self.config.format == "array":
            body = b"[" + body[:-1].replace(b"\n", b",\n") + b"]"
        if self.config.compression == "gzip":
            return gzip_bytes(body)
        return zstandard.ZstdCompressor(level=3).compress(body) if self.config.compression == "zstd" else body

    def renew(self) -> bool:
        tls: Tls | None = getattr(self, "_tls", None)
        return tls is None or tls.renew()

    async def close(self) -> None:
        if hasattr(self, "_session"):
            await self._session.close()

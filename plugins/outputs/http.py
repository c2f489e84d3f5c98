"""Output `http`: sends events to a web service, as NDJSON or as one JSON array a request.

Delivery: at least once. A batch whose answer got lost is sent again. One that is too large for the service (413) is
halved until it fits.
"""

from __future__ import annotations

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


@register("http")
class HttpOutput(Output[HttpOutputConfig]):
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
        reasons: dict[int, str] = {}
        parts = [(0, batch.body)]
        while parts:
            first, body = parts.pop()
            status, detail = await self._send(body)
            if status < 300:
                continue
            count = body.count(b"\n")
            if status == 413 and count > 1:
                lines, middle = body.splitlines(keepends=True), count // 2
                parts += [(first + middle, b"".join(lines[middle:])), (first, b"".join(lines[:middle]))]
            else:
                reasons |= dict.fromkeys(range(first, first + count), f"{status} {detail[:200]}")
        if reasons:
            raise RejectedError(reasons)

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

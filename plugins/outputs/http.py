"""Output `http`: sends events to a web service, as NDJSON or as one JSON array a request.

Delivery: at least once. A batch whose answer got lost is sent again. One that is too large for the service (413) is
halved until it fits.
"""

from __future__ import annotations

from typing import Annotated, Literal

import aiohttp
import zstandard
from pydantic import Field, HttpUrl, SecretStr

from dpiped.api import (
    RETRY_LATER,
    Batch,
    Output,
    PluginConfig,
    RejectedError,
    TemporaryError,
    bearer,
    gzip_bytes,
    register,
    retry_after,
)


class HttpOutputConfig(PluginConfig):
    url: HttpUrl = Field(examples=["http://127.0.0.1:8080/events"])
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
    timeout_secs: Annotated[float, Field(gt=0)] = 30.0
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
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=config.timeout_secs), headers=headers, auth=auth
        )

    async def write(self, batch: Batch) -> None:
        reasons: dict[int, str] = {}
        parts = [(0, batch.body)]
        while parts:
            first, body = parts.pop()
            status, detail = await self._send(body)
            if status < 400:
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
        url = str(self.config.url)
        try:
            async with self._session.request(self.config.method, url, data=self._encode(body)) as answer:
                detail = await answer.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise TemporaryError(f"send to {url}") from exc
        if answer.status >= 500 or answer.status in RETRY_LATER:
            raise TemporaryError(f"{url} answered {answer.status}", retry_after(answer.headers))
        if answer.status in (401, 403):
            raise TemporaryError(f"{url} answered {answer.status}: check the credentials")
        return answer.status, detail

    def _encode(self, body: bytes) -> bytes:
        if self.config.format == "array":
            body = b"[" + body[:-1].replace(b"\n", b",\n") + b"]"
        if self.config.compression == "gzip":
            return gzip_bytes(body)
        return zstandard.ZstdCompressor(level=3).compress(body) if self.config.compression == "zstd" else body

    async def close(self) -> None:
        if hasattr(self, "_session"):
            await self._session.close()

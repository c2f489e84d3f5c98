"""Output `dpipe`: sends packs to another dpiped's http input, as they are stored.

Delivery: exactly once. Each pack goes under a stream made of this runner's name, generation and epoch, with its offset
as number, so the other daemon knows what it has. What was sent and not answered stays with its endpoint; only after
`failover_after_secs` it goes to the next one, which can double it and is counted as
`in_doubt` in `dpipe_noted_events_total`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from logging import WARNING

import aiohttp
import msgspec
from pydantic import Field, SecretStr

from dpiped.api import (
    CONTENT_TYPE,
    ENCODINGS,
    LANE,
    Batch,
    ClientTls,
    Frame,
    Output,
    PackView,
    PluginConfig,
    PositiveSecs,
    RejectedError,
    Secs,
    TemporaryError,
    Tls,
    Url,
    bearer,
    client_tls,
    encode_body,
    encode_frame,
    register,
    retry_after,
    text_of,
)

_KEPT = re.compile(r'\{"accepted":\d+,"rejected":[1-9]')
"""How a daemon begins that accepted nothing, but has put it into its dead letter."""


class DpipeConfig(PluginConfig):
    endpoints: tuple[Url, ...] = Field(min_length=1, examples=[["http://127.0.0.1:9800"]])
    """Http inputs of other daemons, in order of preference."""
    token: SecretStr | None = None
    """Bearer token; write it as `${env:NAME}`."""
    tls: ClientTls = ClientTls()
    """For https endpoints: which authorities are trusted, which certificate is shown."""
    timeout_secs: PositiveSecs = 30.0
    """Time for one request, connecting included."""
    failover_after_secs: Secs = 300.0
    """After so long a batch that may have arrived is given to the next endpoint all the same."""


@register("dpipe")
class DpipeOutput(Output[DpipeConfig]):
    takes_metadata = False

    async def open(self, saved: bytes | None) -> None:
        self._urls = [str(url).rstrip("/") + "/ingest" for url in self.config.endpoints]
        self._at = 0
        self._doubt_since: float | None = time.monotonic()  # a batch may have been on its way when the daemon ended
        timeout = aiohttp.ClientTimeout(total=self.config.timeout_secs)
        headers = {"Content-Type": CONTENT_TYPE, **bearer(self.config.token)}
        self._tls = await client_tls(self.config.tls, self._urls)
        connector = aiohttp.TCPConnector(ssl=self._tls.context if self._tls is not None else True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers)

    async def write(self, batch: Batch) -> None:
        frames = [encode_frame(self._frame(view)) for view in batch.views]
        reasons: dict[int, str] = {}
        await self._send(batch.views, frames, 0, reasons)
        if reasons:
            raise RejectedError(reasons)

    def _frame(self, view: PackView) -> Frame:
        head = view.head
        if view.whole and head.encoding in ENCODINGS:
            encoding, stored = head.encoding, view.pack.stored
        else:
            encoding, stored = encode_body(view.body)
        sent = msgspec.structs.replace(
            head,
            epoch="",
            offset=-1,
            count=view.count,
            raw_bytes=head.raw_bytes if view.whole else len(view.body),
            encoding=encoding,
            stream=f"{LANE}{self.context.lane}.{head.epoch}",
            seq=head.offset,
            nonce="",
            position=None,
            cause=None,
            hops=head.hops + 1,
            only="",
        )
        return Frame(sent, stored)

    async def _send(self, views: Sequence[PackView], frames: list[bytes], first: int, reasons: dict[int, str]) -> None:
        """All frames in one request; in halves when that is too large for the other side or unacceptable as a whole.

        Args:
            first: index in the batch of the first event.
            reasons: index of an event -> why the other side can never take it; added to.
        """
        url = self._urls[self._at]
        try:
            async with self._session.post(url, data=b"".join(frames), allow_redirects=False) as answer:
                text = await text_of(answer)
        except aiohttp.ClientConnectorError as exc:  # nothing was sent
            self._next_endpoint(views)
            raise TemporaryError(f"connect to {url}") from exc
        except (aiohttp.ClientError, TimeoutError) as exc:
            self._doubt_since = self._doubt_since or time.monotonic()
            self._next_endpoint(views)
            raise TemporaryError(f"send to {url}") from exc
        if answer.status not in (200, 413, 422):
            self._next_endpoint(views)
            raise TemporaryError(f"{url} answered {answer.status} {text[:200]}", retry_after(answer.headers))
        if answer.status != 413:
            self._doubt_since = None
        if answer.status == 200 or (answer.status == 422 and _KEPT.match(text)):
            return
        if len(frames) == 1:
            too_large = "too large for the other daemon's max_body_bytes"
            reason = too_large if answer.status == 413 else f"the other daemon cannot take it: {text[:200]}"
            reasons.update(dict.fromkeys(range(first, first + views[0].count), reason))
            return
        half = len(frames) // 2
        await self._send(views[:half], frames[:half], first, reasons)
        await self._send(views[half:], frames[half:], first + sum(view.count for view in views[:half]), reasons)

    def _next_endpoint(self, views: Sequence[PackView]) -> None:
        """Turns to the next endpoint, unless what was sent may have arrived at this one."""
        now = time.monotonic()
        if self._doubt_since is not None and now - self._doubt_since < self.config.failover_after_secs:
            return
        doubted, self._doubt_since = self._doubt_since is not None, None
        self._at = (self._at + 1) % len(self._urls)
        if doubted and len(self._urls) > 1:
            name, telemetry, events = self.context.name, self.context.telemetry, sum(view.count for view in views)
            telemetry.metrics.noted.labels(name, "in_doubt").inc(events)
            detail = f"{events} events go to {self._urls[self._at]}"
            telemetry.say("what may have arrived goes to the next daemon", plugin=name, detail=detail, level=WARNING)

    def status(self) -> dict[str, object]:
        return {"endpoint": self._urls[self._at], "in_doubt": self._doubt_since is not None}

    def renew(self) -> bool:
        tls: Tls | None = getattr(self, "_tls", None)
        return tls is None or tls.renew()

    async def close(self) -> None:
        if hasattr(self, "_session"):
            await self._session.close()

"""Sender: one POST to one daemon, and what its answer means. Shared by all lanes of a collector."""

from __future__ import annotations

import enum
import random
import ssl
from dataclasses import dataclass

import msgspec

from collector.http_client import ConnectError, ExchangeError, HttpClient
from dpiped.batch import BatchId
from dpiped.journal.record import CONTENT_TYPE
from dpiped.tls import ClientTls, Tls

FIRST_PAUSE_SECS = 0.5
LONGEST_PAUSE_SECS = 30.0
LONGEST_RETRY_AFTER_SECS = 300.0


class Verdict(enum.Enum):
    """What became of a batch."""

    STORED = "stored"
    NOTHING_ACCEPTED = "nothing accepted"
    """422: all of it is in the dead letter of the daemon."""
    CONFLICT = "conflict"
    TOO_LARGE = "too large"
    REFUSED = "refused"
    """It was certainly not stored, and may be later: 503, or there is nobody."""
    MISCONFIGURED = "misconfigured"
    """It will not be taken before somebody changes something: 401, 403, 404, 415."""
    UNANSWERED = "unanswered"
    """Nobody knows."""


@dataclass(frozen=True, slots=True)
class Answer:
    verdict: Verdict
    detail: str = ""
    retry_after_secs: float = 0.0
    accepted: int = 0
    rejected: int = 0
    duplicate: bool = False


class _Body(msgspec.Struct):
    accepted: int = 0
    rejected: int = 0
    duplicate: bool = False


_VERDICTS = {
    200: Verdict.STORED,
    201: Verdict.STORED,
    202: Verdict.STORED,
    204: Verdict.STORED,
    401: Verdict.MISCONFIGURED,
    403: Verdict.MISCONFIGURED,
    404: Verdict.MISCONFIGURED,
    405: Verdict.MISCONFIGURED,
    409: Verdict.CONFLICT,
    413: Verdict.TOO_LARGE,
    415: Verdict.MISCONFIGURED,
    422: Verdict.NOTHING_ACCEPTED,
    429: Verdict.REFUSED,
    503: Verdict.REFUSED,
}


class Sender:
    """Keeps connections alive. `post` from any number of lanes, at last `close`."""

    def __init__(self, token: str, timeout_secs: float, tls: ClientTls | None = None) -> None:
        """`tls`: for https endpoints. Raises TlsError."""
        self._token = token
        self._client = HttpClient(timeout_secs, _context(tls))

    def set_token(self, token: str) -> None:
        """From the next request on."""
        self._token = token

    def set_tls(self, tls: ClientTls | None) -> None:
        """From the next connection on, with the files as they are now. Raises TlsError, and changes nothing then."""
        self._client.set_context(_context(tls))

    async def post(self, endpoint: str, batch: BatchId, body: bytes) -> Answer:
        """Never raises but when cancelled, after which the batch is in doubt."""
        headers = {"Content-Type": CONTENT_TYPE, "X-Dpipe-Batch": f"{batch.stream}/{batch.seq}/{batch.nonce}"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            got = await self._client.post(f"{endpoint}/ingest", headers, body)
        except ConnectError as exc:
            return Answer(Verdict.REFUSED, f"{endpoint} cannot be reached: {exc}")
        except ExchangeError as exc:
            return Answer(Verdict.UNANSWERED, f"{endpoint} gave no answer: {exc}")
        return judge(endpoint, got.status, got.headers.get("retry-after", ""), got.body)

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()


def _context(tls: ClientTls | None) -> ssl.SSLContext | None:
    return Tls(tls).context if tls is not None else None


def judge(endpoint: str, status: int, retry_after: str, text: bytes) -> Answer:
    """What an answer means. An unknown status may come from something between us and the daemon: then nobody knows."""
    verdict = _VERDICTS.get(status, Verdict.MISCONFIGURED if 300 <= status < 400 else Verdict.UNANSWERED)
    detail = f"{endpoint} answered {status}: {text[:200].decode(errors='replace').strip()!r}"
    if verdict in (Verdict.STORED, Verdict.NOTHING_ACCEPTED):
        try:
            body = msgspec.json.decode(text, type=_Body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the status is what counts
            body = _Body()
        return Answer(verdict, detail, 0.0, body.accepted, body.rejected, body.duplicate)
    return Answer(verdict, detail, _seconds(retry_after))


def _seconds(retry_after: str) -> float:
    """Of a `Retry-After` in seconds; its other form, a date, is as good as none."""
    return min(float(retry_after), LONGEST_RETRY_AFTER_SECS) if retry_after.isascii() and retry_after.isdigit() else 0.0


class Pauses:
    """Back-off with full jitter: the pauses between tries."""

    def __init__(self, first_secs: float = FIRST_PAUSE_SECS, longest_secs: float = LONGEST_PAUSE_SECS) -> None:
        self._first, self._longest, self._ceiling = first_secs, longest_secs, first_secs

    def next(self, at_least: float = 0.0) -> float:
        """How long to wait now. What the daemon asks for is the least, with a little jitter on it."""
        ceiling, self._ceiling = self._ceiling, min(2 * self._ceiling, self._longest)
        return max(random.uniform(0, ceiling), at_least * random.uniform(1.0, 1.2))

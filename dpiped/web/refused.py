"""Refused: an answer other than 2xx, raised wherever a request is looked at and written in one place."""

from __future__ import annotations

import msgspec
from aiohttp import web

from dpiped.errors import UnavailableError


class Refused(Exception):
    """The request gets this answer."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers

    def answer(self) -> web.Response:
        """As JSON: `{"error": reason}`."""
        body = msgspec.json.encode({"error": self.reason})
        return web.Response(status=self.status, body=body, content_type="application/json", headers=self.headers)


def unavailable(exc: UnavailableError) -> Refused:
    """The journal takes nothing now: 503, and when to come again."""
    return Refused(503, str(exc), **{"Retry-After": f"{max(1, round(exc.retry_after_secs))}"})

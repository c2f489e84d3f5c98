"""HalfOpen: keeps a connection open whose client has said all (shutdown(SHUT_WR)) until it has its answers.

aiohttp closes such a connection at once, so the answer to a request that was taken is lost. TLS knows no half-closed
connections. It looks into aiohttp's handler, which offers nothing for this; with one that has not what it looks for,
connections are closed as aiohttp does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp.http_exceptions import PayloadEncodingError

LOOK_SECS = 0.02
"""So often it is looked whether all is answered."""
LOOKED_AT = ("transport", "_parser", "_upgraded", "_messages", "_current_request", "_waiter")
BREAKS_ANY_HEAD = b"\0\0"
"""No head can go on so."""


class HalfOpen:
    """The protocol of one plain connection: aiohttp's own but for the end of what the client sends."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        # its very methods, so that they cost nothing more
        self.connection_made: Callable[[asyncio.BaseTransport], None] = handler.connection_made
        self.connection_lost: Callable[[Exception | None], None] = handler.connection_lost
        self.data_received: Callable[[bytes], None] = handler.data_received
        self.pause_writing: Callable[[], None] = handler.pause_writing
        self.resume_writing: Callable[[], None] = handler.resume_writing

    @staticmethod
    def fits(handler: Any) -> bool:
        """Whether this version of aiohttp has all that is looked at."""
        return all(hasattr(handler, name) for name in LOOKED_AT)

    def eof_received(self) -> bool:
        """True: the connection stays open until what was asked is answered; a request that broke off is, by 400."""
        handler = self._handler
        if handler.transport is None or handler._parser is None or handler._upgraded:
            return False
        if self._is_head_begun():
            handler.data_received(BREAKS_ANY_HEAD)
        if not self._is_busy():
            return False
        self._close_when_answered()
        return True

    def _is_head_begun(self) -> bool:
        """Ends the parser, which tells what it holds; a body that is not whole breaks off for who reads it."""
        try:
            return self._handler._parser.feed_eof() is not None
        except PayloadEncodingError as exc:
            self._break_off(exc)
            return False
        except Exception:  # no message can be made of half a head
            return True

    def _break_off(self, why: Exception) -> None:
        handler = self._handler
        request = handler._current_request
        if not handler._messages and request is None and handler.transport is not None and self._is_busy():
            # its task has not begun; or it is answered already, without its body, and will be closed
            asyncio.get_running_loop().call_later(LOOK_SECS, self._break_off, why)
            return
        body = handler._messages[-1][1] if handler._messages else getattr(request, "content", None)
        if body is not None and not body.is_eof():
            body.set_exception(ConnectionResetError("the client ended it"), why)
            body.feed_eof()

    def _is_busy(self) -> bool:
        return is_busy(self._handler)

    def _close_when_answered(self) -> None:
        if self._handler.transport is None:
            return
        if self._is_busy():
            asyncio.get_running_loop().call_later(LOOK_SECS, self._close_when_answered)
        else:
            self._handler.force_close()


def is_busy(handler: Any) -> bool:
    """Whether anything that came waits for its answer; False where this version of aiohttp does not tell."""
    if not HalfOpen.fits(handler):
        return False
    waiter = handler._waiter
    return bool(handler._messages) or waiter is None or waiter.done()

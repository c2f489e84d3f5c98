"""What frames of requests may take of memory and time once decompressed: small ones can stand for a lot."""

from __future__ import annotations

from dpiped.errors import UnavailableError
from dpiped.pack import MAX_PACK_BYTES

MAX_REQUEST_BYTES = 64 << 20
"""Of all frames of one request; it is answered 413 above."""
MAX_ALL_BYTES = 256 << 20
"""Of all requests under way; they are answered 503 above."""
FRAME_COST_BYTES = 4 << 10
"""A frame takes at least as long as so many bytes."""


class Unpacked:
    """All requests of one intake."""

    def __init__(self) -> None:
        self.bytes = 0

    def request(self) -> UnpackedRequest:
        """Use it as a context: what it holds is given back at the end."""
        return UnpackedRequest(self)


class UnpackedRequest:
    """The frames of one request."""

    def __init__(self, owner: Unpacked) -> None:
        self._owner = owner
        self._size = 0
        self._work = 0

    @property
    def room(self) -> int:
        """How much the next frame may have."""
        return MAX_REQUEST_BYTES - self._size

    def add(self, size: int) -> bool:
        """Tells of a frame. True: it is time for others on the event loop. Raises UnavailableError."""
        self._size += size
        self._owner.bytes += size
        if self._owner.bytes > MAX_ALL_BYTES:
            raise UnavailableError("too many requests in flight")
        self._work += size + FRAME_COST_BYTES
        if self._work < MAX_PACK_BYTES:
            return False
        self._work = 0
        return True

    def __enter__(self) -> UnpackedRequest:
        return self

    def __exit__(self, *exc: object) -> None:
        self._owner.bytes -= self._size

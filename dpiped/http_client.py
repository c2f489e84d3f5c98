"""What all outputs that speak HTTP share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import SecretStr

if TYPE_CHECKING:
    import aiohttp

RETRY_LATER = frozenset({408, 425, 429})
"""Answers below 500 that mean: the same again, later."""
LONGEST_ANSWER_BYTES = 64 << 10
"""More of an answer is not read: nobody needs it, and a server could send without end."""


def bearer(token: SecretStr | None) -> dict[str, str]:
    """The header of a bearer token; none without a token."""
    return {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After`, at most 300; None if it is absent or a date."""
    text = headers.get("Retry-After", "")
    return min(float(text), 300.0) if text.isascii() and text.isdigit() else None


async def text_of(answer: aiohttp.ClientResponse) -> str:
    """The beginning of what was answered. Raises aiohttp.ClientError."""
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LONGEST_ANSWER_BYTES:
            break
    return b"".join(pieces)[:LONGEST_ANSWER_BYTES].decode("utf-8", "replace")

"""What all outputs that speak HTTP share."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

RETRY_LATER = frozenset({408, 425, 429})
"""Answers below 500 that mean: the same again, later."""


def bearer(token: SecretStr | None) -> dict[str, str]:
    """The header of a bearer token; none without a token."""
    return {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of `Retry-After`, at most 300; None if it is absent or a date."""
    text = headers.get("Retry-After", "")
    return min(float(text), 300.0) if text.isdigit() else None

"""The base of all config models, and the kinds of values they share.

The string under a field is its documentation: `describe`, `create` and the reference are made from it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr

_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)\s*", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_IDENT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
MAX_IDENT_LENGTH = 200
LONGEST_HOST = 255
"""Of a name of a machine in a head; the daemon takes no longer one from anybody."""


class ConfigModel(BaseModel):
    """Strict keys, frozen; attribute docstrings become descriptions."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


class PluginConfig(ConfigModel):
    """Base of the config of every plugin: only the plugin's own keys, never those that its runner owns."""


def _parse_size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError('expected a size such as 1048576, "64MiB" or "8GiB"')
    return int(float(match[1]) * unit)


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("expected 1 to 64 letters, digits, _ or -, not starting with -")
    return value


def is_ident(value: str) -> bool:
    """Whether the text may be an ident: dotted parts of letters, digits, _ and -, at most 200 characters."""
    return len(value) <= MAX_IDENT_LENGTH and _IDENT.fullmatch(value) is not None


def is_name(value: str) -> bool:
    """Whether the text may be the name of a project or plugin."""
    return _NAME.fullmatch(value) is not None


def _check_ident(value: str) -> str:
    if not is_ident(value):
        longest = f"at most {MAX_IDENT_LENGTH} characters"
        raise ValueError(f"expected dotted parts of letters, digits, _ and -, such as rs.web, {longest}")
    return value


def parts_of_url(text: str) -> SplitResult | None:
    """Of an address by http or https; None if it is none."""
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_one else None


def _check_host(value: str) -> str:
    if len(value) > LONGEST_HOST or not value.isprintable():
        raise ValueError(f"expected at most {LONGEST_HOST} characters, and none that cannot be printed")
    return value


def _check_listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError('expected HOST:PORT such as "127.0.0.1:9800" (port 0 = any free one)')
    return value


def _check_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or not text.isprintable() or any(character.isspace() for character in text):
        raise ValueError("expected a token without blanks, and not an empty one")
    return value


def _check_url(value: HttpUrl) -> HttpUrl:
    if value.username or value.password:
        raise ValueError("no credentials belong into a URL, for URLs are shown: use the keys for them")
    return value


Bytes = Annotated[int, BeforeValidator(_parse_size), Field(ge=0)]
"""A size in bytes, also "64MiB"."""
MAX_SECS = 1_000_000_000
"""30 years: what is longer means never, and has no place in a number of milliseconds or a timer."""
Secs = Annotated[float, Field(ge=0, le=MAX_SECS)]
"""A time in seconds."""
PositiveSecs = Annotated[float, Field(gt=0, le=MAX_SECS)]
"""A time in seconds that is not nothing."""
WindowSecs = Annotated[float, Field(ge=0.001, le=MAX_SECS)]
"""A time in seconds; events know milliseconds."""
Name = Annotated[str, AfterValidator(_check_name)]
"""Name of a project or plugin."""
Ident = Annotated[str, AfterValidator(_check_ident)]
"""A routing label."""
Host = Annotated[str, AfterValidator(_check_host)]
"""What events call the machine that they come from."""
Token = Annotated[SecretStr, AfterValidator(_check_token)]
"""A bearer token that opens something. An empty one would open it for everybody."""
Url = Annotated[HttpUrl, AfterValidator(_check_url)]
"""Where to send; without user and password in it."""
Listen = Annotated[str, AfterValidator(_check_listen)]
"""HOST:PORT to bind; port 0 takes a free one."""


def split_listen(listen: str) -> tuple[str, int]:
    """(host, port) of a checked Listen; brackets of an IPv6 address are taken off."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost is not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

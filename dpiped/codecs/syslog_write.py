"""Canonical bodies as RFC 5424 lines. What a field of the header cannot hold (blanks, non-ASCII) is written as
`_`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

_DEFAULT_PRIORITY = 13
"""user.notice, as `logger` says."""
_UNPRINTABLE = re.compile(r"[^!-~]")
_NO_SD_NAME = re.compile(r'[^!-~]|[="\]]')
_LIMITS = {"host": 255, "appname": 48, "procid": 128, "msgid": 32}
"""Source: RFC 5424, section 6."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_rfc5424(body: bytes) -> bytes:
    """One line an event; other fields than those of the syslog codec are left out."""
    lines = [_line(event) for event in msgspec.json.Decoder(dict[str, Any]).decode_lines(body)]
    return "\n".join([*lines, ""]).encode()


def _line(event: dict[str, Any]) -> str:
    time = (_EPOCH + timedelta(milliseconds=event["@timestamp"])).isoformat(timespec="milliseconds")
    header = " ".join(_token(event.get(name), most) for name, most in _LIMITS.items())
    start = f"<{_priority(event)}>1 {time.replace('+00:00', 'Z')} {header} {_sd(event.get('sd'))}"
    message = event.get("message")
    if not isinstance(message, str):
        return start
    return f"{start} {message}".replace("\r", " ").replace("\n", " ")


def _priority(event: dict[str, Any]) -> int:
    from dpiped.codecs.syslog import FACILITIES, SEVERITIES  # here: that module needs this one

    try:
        return FACILITIES.index(event["facility"]) * 8 + SEVERITIES.index(event["severity"])
    except (KeyError, ValueError):
        return _DEFAULT_PRIORITY


def _token(value: object, most: int) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return _UNPRINTABLE.sub("_", text)[:most] or "-"


def _sd(value: object) -> str:
    if not isinstance(value, dict):
        return "-"
    elements = []
    for name, members in value.items():
        pairs = members.items() if isinstance(members, dict) else ()
        texts = (f' {_NO_SD_NAME.sub("_", key) or "_"}="{_escape(member)}"' for key, member in pairs)
        elements.append(f"[{_NO_SD_NAME.sub('_', name) or '_'}{''.join(texts)}]")
    return "".join(elements) or "-"


def _escape(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return re.sub(r'(["\\\]])', r"\\\1", text)

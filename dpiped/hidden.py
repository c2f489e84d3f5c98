"""What must never be shown: secrets of the config, blotted out wherever the process writes or answers something.

One set for the whole process, since a log line, an answer or a traceback does not know which config a secret is of.
What a reload brings is added; what it takes away stays hidden, for it may be valid still.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MARK = "***"
SHORTEST = 4
"""Shorter ones would blot out half of the log, and protect nothing."""
_USERINFO = re.compile(r"(?<=://)[^/@\s\"']*@")
_known: set[str] = set()
_pattern: re.Pattern[str] | None = None


def hide(secrets: Iterable[str]) -> None:
    """From now on `blot` takes these out, also as they stand in JSON, in a URL or in the `repr` of a text."""
    global _pattern
    new = {secret for secret in secrets if len(secret) >= SHORTEST}
    if new <= _known:
        return
    _known.update(new)
    forms = {form for secret in _known for form in _forms(secret)}
    _pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def blot(text: str) -> str:
    """The text with *** for every hidden secret, and for user and password in a URL."""
    if "://" in text:
        text = _USERINFO.sub(f"{MARK}@", text)
    return text if _pattern is None else _pattern.sub(MARK, text)


def forget() -> None:
    """Hides nothing any more; for tests, which all run in one process."""
    global _pattern
    _known.clear()
    _pattern = None


def _forms(secret: str) -> Iterable[str]:
    yield from (secret, quote(secret, safe=""), repr(secret)[1:-1])
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])

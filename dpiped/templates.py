"""Path templates: `{project}`, `{ident}`, `{host}` and strftime codes, confined to the folder that they name
literally.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache

from dpiped.pack import Head

FIELDS = ("project", "ident", "host")
_FIELD = re.compile(r"\{([^{}]*)\}")
_CODE = re.compile(r"%(.)")
_CODES = "YmdHMSjVGuyBba%"
_FINE = "HMS"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]|^\.+")


def check_path_template(text: str) -> str:
    """Raises ValueError with what is wrong."""
    if not text or "\0" in text:
        raise ValueError("expected the path of a file")
    for name in _FIELD.findall(text):
        if name not in FIELDS:
            raise ValueError(f"unknown field {{{name}}}: expected one of {', '.join('{' + f + '}' for f in FIELDS)}")
    for code in _CODE.findall(text):
        if code not in _CODES:
            raise ValueError(f"unknown time code %{code}: expected one of {' '.join('%' + c for c in _CODES)}")
    if "{" in _FIELD.sub("", text) or "}" in _FIELD.sub("", text):
        raise ValueError("a brace is not closed")
    if text.endswith("/"):
        raise ValueError("expected the path of a file, not of a folder")
    if ".." in text.split("/"):
        raise ValueError("`..` is not allowed in a path with templates")
    return text


def safe_part(value: str) -> str:
    """A value from outside as one part of a path: never empty, never with a slash, never beginning with a dot."""
    return _UNSAFE.sub("_", value)[:200] or "_"


class PathTemplate:
    """A checked template, ready to render."""

    def __init__(self, text: str) -> None:
        self._text = check_path_template(text)
        codes = set(_CODE.findall(text)) - {"%"}
        self.has_time = bool(codes)
        """Whether the path depends on time."""
        self._step_ms = 1_000 if codes & set(_FINE) else 3_600_000
        self.is_monotonic = "Y" in codes or "G" in codes
        """Whether equal paths for two times mean the same path for all times between."""

    def render(self, head: Head, at_ms: int) -> str:
        """The path for a pack and a time in milliseconds, UTC."""
        step = at_ms // self._step_ms if self.has_time else 0
        return _render(self._text, head.project, head.ident, head.host, step * self._step_ms // 1000)


@lru_cache(maxsize=4096)
def _render(text: str, project: str, ident: str, host: str, secs: int) -> str:
    values = {"project": safe_part(project), "ident": safe_part(ident), "host": safe_part(host)}
    moment = time.gmtime(max(0, min(secs, 253_402_300_799)))
    text = _CODE.sub(lambda match: time.strftime(match[0], moment), text)
    return _FIELD.sub(lambda match: values[match[1]], text)

"""The ident of a file: a template in which `{stem}`, `{logname}` and `{dir}` stand for parts of its path.

    {stem}     base name up to its first dot after the start         /var/log/nginx/access.log.1 -> access
    {logname}  the stem without rotation numbers, as one camel word  mongo_slow.0.log -> mongoSlow
    {dir}      name of the folder                                    nginx

A part is made of letters, digits, `_` and `-` whatever the path holds, so the result is always an ident; it never
raises.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePath

from dpiped.config.base import MAX_IDENT_LENGTH, is_ident

FIELDS = ("stem", "logname", "dir")
_FIELD = re.compile(r"\{([^{}]*)\}")
_NOT_PART = re.compile(r"[^A-Za-z0-9_-]+")
_WORDS = re.compile(r"[A-Za-z0-9]+")
_NUMBERED_LOG = re.compile(r"(.+)\.\d+\.log(?:\.\d+)?(?:\.gz)?")
_STAMPED = re.compile(r"(.+?)_\d+(?:_.*)?")
_ENDINGS = re.compile(r"(?:[.-]\d[\d\-_T]*|\.(?:log|gz|txt|out|err|json|csv|ndjson|old|bak))+$")
NAMELESS = "unnamed"


def stem(path: str) -> str:
    """`access` of `/var/log/nginx/access.log.1`."""
    name = PurePath(path).name
    return name[:1] + name[1:].partition(".")[0]


@lru_cache(maxsize=4096)
def logname(path: str) -> str:
    """The base name without rotation numbers as one camel word: `ffs.client.Error.11.log` is `ffsClientError`."""
    name = PurePath(path).name
    numbered = _NUMBERED_LOG.fullmatch(name)
    base = numbered[1] if numbered else _ENDINGS.sub("", name)
    stamped = _STAMPED.fullmatch(base)
    words = _WORDS.findall(stamped[1] if stamped else base)
    return "".join([*words[:1], *(word[:1].upper() + word[1:] for word in words[1:])]) or NAMELESS


def check_template(template: str) -> str:
    """The template, if every field is known and the rest may stand in an ident. Raises ValueError."""
    unknown = [name for name in _FIELD.findall(template) if name not in FIELDS]
    if unknown:
        raise ValueError(f"{{{unknown[0]}}} is not known: use {{stem}}, {{logname}} or {{dir}}")
    if not is_ident(_FIELD.sub("x", template)):
        raise ValueError("expected dotted parts of letters, digits, _ and -, such as rs.web or rs.{logname}")
    return template


@lru_cache(maxsize=4096)
def ident_of(template: str, path: str) -> str:
    """The ident of a file; the template was checked."""
    if "{" not in template:
        return template
    parts = {"stem": stem(path), "logname": logname(path), "dir": PurePath(path).parent.name}
    clean = {name: _NOT_PART.sub("_", part).strip("_") or NAMELESS for name, part in parts.items()}
    ident = _FIELD.sub(lambda field: clean[field[1]], template)
    return ident[:MAX_IDENT_LENGTH].rstrip(".")

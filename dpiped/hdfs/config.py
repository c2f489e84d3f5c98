"""The config of the output `hdfs`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from dpiped.config.base import PluginConfig, PositiveSecs, Url
from dpiped.objects.config import FormatConfig
from dpiped.objects.keys import check_prefix
from dpiped.tls import ClientTls

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}\$?")


def _check_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("expected a path that begins with /")
    if ":" in text:
        raise ValueError("HDFS allows no colon in names")
    return "/" + check_prefix(text[1:])


def _check_user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise ValueError("expected the name of a user: letters, digits, `.`, `_` and `-`")
    return text


class HdfsConfig(FormatConfig, PluginConfig):
    """Where the namenodes are, and what files are named."""

    namenodes: tuple[Url, ...] = Field(default=(Url("http://127.0.0.1:9870"),), min_length=1)
    """Addresses of WebHDFS: the namenode, or both of a pair, or an HttpFS gateway; the active one is found."""
    user: Annotated[str, AfterValidator(_check_user)] = "dpipe"
    """Who writes (`user.name`). Kerberos is not spoken."""
    path: Annotated[str, AfterValidator(_check_path)] = "/logs/{project}/{ident}/dt=%Y-%m-%d/hour=%H"
    """Folder of the files: `{project}`, `{ident}`, `{host}` and strftime codes in UTC; folders are made."""
    replication: Annotated[int, Field(ge=1, le=512)] | None = Field(default=None, examples=[3])
    """Copies of each block; by default as the cluster says."""
    timeout_secs: PositiveSecs = 60.0
    """So long a node may be silent within a request."""
    tls: ClientTls = ClientTls()
    """For https: which authorities are trusted, which certificate is shown."""

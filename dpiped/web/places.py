"""What path, query and head of an ingest request mean: project, ident, source, codec, host, batch.

    /ingest/{project}/{ident}?codec=NAME&source=TEXT        X-Dpipe-Host: NAME
    /ingest                                                 X-Dpipe-Batch: STREAM/SEQ[/NONCE]

All of it comes from strangers and ends in heads, paths and indices, so each part has a strict pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dpiped.batch import BatchId, stream_of_project
from dpiped.codecs.base import Codec
from dpiped.config.base import LONGEST_HOST, MAX_IDENT_LENGTH, is_ident, is_name
from dpiped.errors import CodecError
from dpiped.journal.record import CONTENT_TYPE
from dpiped.matcher import OWN_PREFIX
from dpiped.web.refused import Refused

if TYPE_CHECKING:
    from aiohttp import web

_BATCH = re.compile(r"([A-Za-z0-9._~:@+-]{1,200})/([0-9]{1,18})(?:/([A-Za-z0-9._~+=-]{0,100}))?")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,1024}")
"""Bytes that are not UTF-8 arrive as lone surrogates."""
MOST_PLACES = 10_000
"""So many paths are remembered; a sender can invent idents without end."""


@dataclass(frozen=True, slots=True)
class Place:
    """What path and query of a request mean."""

    is_frames: bool
    project: str = ""
    ident: str = ""
    source: str = ""
    codec: Codec | None = None


class Places:
    """Finds places, and remembers them: senders use the same ones again and again.

    Args:
        projects: the known ones; none: any name is one.
        codec_of: the codec of a name; raises CodecError.
    """

    def __init__(self, projects: Collection[str], codec_of: Callable[[str], Codec] | None) -> None:
        self._projects = projects
        self._codec_of = codec_of
        self._known: dict[str, Place] = {}

    def find(self, request: web.BaseRequest) -> Place:
        """Raises Refused."""
        place = self._known.get(request.raw_path)
        if place is None:
            place = self._read(request)
            if len(self._known) >= MOST_PLACES:
                self._known.clear()
            self._known[request.raw_path] = place
        return place

    def _read(self, request: web.BaseRequest) -> Place:
        parts = request.rel_url.raw_path.strip("/").split("/")
        if parts[0] != "ingest" or len(parts) not in (1, 3):
            raise Refused(404, f"no such path; POST to /ingest/PROJECT/IDENT, or {CONTENT_TYPE} to /ingest")
        if len(parts) == 1:
            return Place(is_frames=True)
        project, ident = unquote(parts[1]), unquote(parts[2])
        if not is_ident(ident):
            what = f"dotted parts of letters, digits, _ and -, {MAX_IDENT_LENGTH} characters at most"
            raise Refused(404, f"no such ident; an ident is {what}")
        if ident.partition(".")[0] == OWN_PREFIX:
            raise Refused(404, f"idents that begin with {OWN_PREFIX} are the daemon's own")
        self.check_project(project)
        source = request.rel_url.query.get("source", "")
        if not _PRINTABLE.fullmatch(source):
            raise Refused(400, "source has control characters or more than 1024 characters")
        return Place(False, project, ident, source, self._codec(request.rel_url.query.get("codec", "")))

    def check_project(self, project: str) -> None:
        """Raises Refused (404) when there is no such project."""
        if not is_name(project) or (self._projects and project not in self._projects):
            name = f" {project}" if is_name(project) else ""
            raise Refused(404, f"unknown project{name}; the daemon's config has no [[project]] of this name")

    def check_frame_codec(self, name: str) -> None:
        """Raises Refused (404) when a codec cannot read frames, which are cut behind any line."""
        codec = self._codec(name)
        if codec is not None and not codec.reads_pieces:
            raise Refused(404, f"codec {name!r} reads frames only with `columns` in the config of the input")

    def _codec(self, name: str) -> Codec | None:
        """The codec that the sender names; None: that of the config."""
        if not name or self._codec_of is None:
            return None
        try:
            return self._codec_of(name)
        except CodecError as exc:
            raise Refused(404, str(exc)) from exc


def host_of(request: web.BaseRequest) -> str:
    """The machine that the sender names. Raises Refused."""
    host = request.headers.get("X-Dpipe-Host", "")
    if not _PRINTABLE.fullmatch(host) or len(host) > LONGEST_HOST:
        raise Refused(400, f"X-Dpipe-Host has control characters or more than {LONGEST_HOST} characters")
    return host


def batch_of(request: web.BaseRequest, project: str) -> BatchId | None:
    """The batch that the sender of a project names; None if it names none. Raises Refused."""
    texts = request.headers.getall("X-Dpipe-Batch", ())
    if not texts:
        return None
    match = _BATCH.fullmatch(texts[0]) if len(texts) == 1 else None
    if match is None:
        raise Refused(400, "X-Dpipe-Batch is not one STREAM/SEQ or STREAM/SEQ/NONCE")
    return BatchId(stream_of_project(match[1], project), int(match[2]), match[3] or "")

"""Bearer tokens: what a request shows, compared in constant time. They travel in the head only, never in path, query or
body, for those end up in logs."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dpiped.pack import NO_PROJECT
from dpiped.web.refused import Refused

if TYPE_CHECKING:
    from aiohttp import web


def shows_one_of(request: web.BaseRequest, tokens: Iterable[bytes]) -> bool:
    """Whether the request shows one of the tokens. All are compared, whatever the first says."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return False
    sent = given.strip().encode("utf-8", "surrogateescape")
    return sum(hmac.compare_digest(token, sent) for token in tokens) > 0


class Tokens:
    """Who may write to which project.

    Args:
        general: open every project.
        projects: project -> the tokens that open only it.
    """

    def __init__(self, general: Iterable[str], projects: Mapping[str, Iterable[str]]) -> None:
        self._general = [token.encode() for token in general]
        self._own = {name: [token.encode() for token in tokens] for name, tokens in projects.items()}
        self._every = [*self._general, *(token for tokens in self._own.values() for token in tokens)]

    def check(self, request: web.BaseRequest, projects: Iterable[str]) -> None:
        """Raises Refused: 401 without a token that is known, 403 with one of another project.

        Without any general token, projects without tokens of their own are open. What is of no project may have come
        for any of them: where there are tokens, only a general one opens it.
        """
        if not self._every or shows_one_of(request, self._general):
            return
        shut = next((project for project in projects if not self._is_open(project, request)), None)
        if shut is None:
            return
        if shows_one_of(request, self._every):
            what = "what is of no project" if shut == NO_PROJECT else f"project {shut!r}"
            raise Refused(403, f"this token does not open {what}")
        raise Refused(401, "a valid bearer token is needed", **{"WWW-Authenticate": "Bearer"})

    def _is_open(self, project: str, request: web.BaseRequest) -> bool:
        if project == NO_PROJECT:
            return False
        own = self._own.get(project, [])
        return shows_one_of(request, own) if own else not self._general

    def check_any(self, request: web.BaseRequest) -> None:
        """Raises Refused (401) when the token opens nothing: before a body is read whose projects are not known yet."""
        is_all_locked = bool(self._general) or all(self._own.values())
        if self._every and is_all_locked and not shows_one_of(request, self._every):
            raise Refused(401, "a valid bearer token is needed", **{"WWW-Authenticate": "Bearer"})

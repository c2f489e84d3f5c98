"""The admin API as commands use it: one request at a time, blocking; whatever goes wrong is one line."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, NamedTuple

from dpiped.errors import DpipeError, WrongArgumentError

TIMEOUT_SECS = 600.0
"""Calls that send many dead letters again take their time."""
MORE_HEADER = "X-Dpipe-More"
"""`true` where `limit` has cut something off."""


class Text(NamedTuple):
    """An answer for people or other programs."""

    text: str
    more: bool
    """A limit has cut something off."""


class AdminClient:
    """A daemon's admin API at `url`, such as `http://127.0.0.1:9876`; `tls` is for https."""

    def __init__(
        self, url: str, token: str = "", tls: ssl.SSLContext | None = None, timeout_secs: float = TIMEOUT_SECS
    ) -> None:
        scheme = "https" if tls is not None else "http"
        self.url = url.rstrip("/") if "://" in url else f"{scheme}://{url}".rstrip("/")
        self._token = token
        self._tls = tls
        self._timeout_secs = timeout_secs

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """The answer of a GET, decoded; raises DpipeError."""
        return self._decoded(self.text(path, query))

    def text(self, path: str, query: Mapping[str, object] | None = None) -> Text:
        """The answer of a GET as it is; raises DpipeError."""
        return self._ask(path, query)

    def post(self, path: str, data: object) -> Any:
        """The answer of a POST with a JSON body, decoded; raises DpipeError."""
        return self._decoded(self._ask(path, body=json.dumps(data).encode()))

    def _decoded(self, answer: Text) -> Any:
        try:
            return json.loads(answer.text)
        except ValueError as exc:
            raise DpipeError(f"{self.url} is no daemon's admin API: {exc}; --admin names another") from exc

    def _ask(self, path: str, query: Mapping[str, object] | None = None, body: bytes | None = None) -> Text:
        pairs = {name: value for name, value in (query or {}).items() if value not in (None, "", ())}
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = self.url + path + ("?" + urllib.parse.urlencode(pairs, doseq=True) if pairs else "")
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_secs, context=self._tls) as answer:
                return Text(answer.read().decode(errors="replace"), answer.headers.get(MORE_HEADER) == "true")
        except urllib.error.HTTPError as exc:
            kind = WrongArgumentError if exc.code == HTTPStatus.UNPROCESSABLE_ENTITY else DpipeError
            raise kind(f"{self.url} answered {exc.code}: {_reason(exc)}{_hint(exc.code, path)}") from exc
        except (OSError, ValueError, HTTPException) as exc:
            reason = getattr(exc, "reason", exc)
            raise DpipeError(f"no answer from the daemon at {self.url}: {reason}; --admin names another") from exc


def trusting(file: str, cert: str = "", key: str = "") -> ssl.SSLContext:
    """Believes who shows the very certificate of the file, or one of an authority in it. Raises DpipeError.

    The name in the certificate is not compared: the file was named for this one server.
    """
    try:
        context = ssl.create_default_context(cafile=file)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if cert:
            context.load_cert_chain(cert, key or None)
    except OSError as exc:
        files = ", ".join(name for name in (file, cert, key) if name)
        raise DpipeError(f"certificates {files}: {exc.strerror or exc}") from exc
    return context


def _hint(status: int, path: str) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "; --token gives one"
    if status == HTTPStatus.NOT_FOUND and path.startswith("/admin/"):  # it is there wherever the admin API is
        return "; this is no admin API, --admin names another"
    return ""


def _reason(answer: urllib.error.HTTPError) -> str:
    """What the daemon says of it, else the name of the status."""
    try:
        return str(json.load(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return str(answer.reason)

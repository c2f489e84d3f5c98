"""WebHDFS, as much of it as whole files need: written under a hidden name, then renamed.

    PUT  NAMENODE/webhdfs/v1/PATH?op=CREATE        no body; 307 with the address of a datanode (HttpFS: of itself)
    PUT  THAT ADDRESS                              the bytes; 201
    PUT  NAMENODE/webhdfs/v1/PATH?op=RENAME&destination=OTHER      {"boolean": true}, false when it cannot be

Of a pair of namenodes one is active; the other answers 403 StandbyException, and the next one is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from dpiped.errors import TemporaryError
from dpiped.hdfs.config import HdfsConfig
from dpiped.http_client import text_of
from dpiped.objects.body import Body
from dpiped.tls import Tls

SLOW_SECS = 30.0
"""Until the next try where an operator has to do something."""
CONNECT_SECS = 10.0
_CHUNK = 1 << 20
_ELSEWHERE = {"StandbyException", "ObserverRetryOnActiveException"}
"""Another namenode is to be asked."""
_AGAIN = {
    "RetriableException",
    "ServerTooBusyException",
    "NotReplicatedYetException",
    "LeaseExpiredException",
    "IOException",
}
"""It goes away by itself."""
_ADVICE: Mapping[str, str] = {
    "SafeModeException": "the namenode is in safe mode: nothing is written until it leaves it",
    "AccessControlException": "let the user write there, or mend `user` or `path`",
    "SecurityException": "the cluster wants Kerberos, which is not spoken here: use an HttpFS gateway",
    "NSQuotaExceededException": "raise the quota of names",
    "DSQuotaExceededException": "raise the quota of space",
    "ParentNotDirectoryException": "a part of `path` is a file",
}


class _RemoteError(Exception):
    """What a node says that it will not do."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(f"{status} {kind} {message}".strip())
        self.status = status
        self.kind = kind


class WebHdfs:
    """A client; used on the event loop by any number of tasks."""

    def __init__(self, config: HdfsConfig, tls: Tls | None) -> None:
        self._config = config
        self._nodes = [str(url).rstrip("/") for url in config.namenodes]
        self._active = 0
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls.context if tls is not None else True, limit=2 * config.max_uploads),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(CONNECT_SECS, config.timeout_secs), sock_read=config.timeout_secs
            ),
        )

    @property
    def active(self) -> str:
        """The namenode that answered last."""
        return self._nodes[self._active]

    async def put(self, path: str, body: Body) -> bool:
        """Stores a file and closes the body; False: one of this name is there. Raises TemporaryError."""
        folder, _, name = path.rpartition("/")
        hidden = f"{folder}/.{name}.tmp"
        try:
            if await self._status(path) is not None:
                await self._ask("DELETE", hidden, op="DELETE")
                return False
            await self._create(hidden, body)
            renamed = await self._ask("PUT", hidden, op="RENAME", destination=path)
            if not renamed.get("boolean"):
                if await self._status(path) is None:
                    raise TemporaryError(f"{self.active}: {hidden} could not be renamed to {path}")
                await self._ask("DELETE", hidden, op="DELETE")
                return False
        finally:
            body.close()
        return True

    async def access(self, path: str) -> None:
        """Whether the user may write below this path, as far as the nearest folder that is there tells. Raises
        TemporaryError with what is wrong.
        """
        while path != "/" and await self._status(path) is None:
            path = path.rpartition("/")[0] or "/"
        await self._ask("GET", path, op="CHECKACCESS", fsaction="-wx")

    async def _status(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._ask_all("GET", path, {"op": "GETFILESTATUS"})
        except _RemoteError as exc:
            if exc.kind == "FileNotFoundException":
                return None
            raise self._told(exc, path) from None

    async def _create(self, path: str, body: Body) -> None:
        """A file that is there under this name is replaced: it is what a kill left."""
        given: dict[str, Any] = {"op": "CREATE", "overwrite": "true", "permission": "640"}
        if self._config.replication:
            given["replication"] = self._config.replication
        place = (await self._ask("PUT", path, **given)).get("Location", "")
        if not place:
            raise TemporaryError(f"{self.active}: no datanode was named for {path}")
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(body.size)}
        try:
            async with self._session.put(place, data=_pieces(body), headers=headers, allow_redirects=False) as answer:
                await self._read(answer)
        except _RemoteError as exc:
            raise self._told(exc, path) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            node = place.partition("?")[0].partition("/webhdfs")[0]
            raise TemporaryError(f"datanode {node}: {_said(exc)}; it has to be reachable from here") from None

    # ---- namenodes -------------------------------------------------------------------------------------------------
    async def _ask(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """What the active namenode answers. Raises TemporaryError."""
        try:
            return await self._ask_all(method, path, given)
        except _RemoteError as exc:
            raise self._told(exc, path) from None

    def _told(self, exc: _RemoteError, path: str) -> TemporaryError:
        text = f"{self.active}: {path}: {exc}"
        if exc.kind in _AGAIN or (exc.status >= 500 and exc.kind not in _ADVICE):
            return TemporaryError(f"{text}; it is tried again")
        return TemporaryError(f"{text}; {_ADVICE.get(exc.kind, 'an operator has to mend it')}", SLOW_SECS)

    async def _ask_all(self, method: str, path: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Asks the active namenode, and if it is not that any more or does not answer, the others.

        Raises:
            _RemoteError: the active one refuses.
            TemporaryError: none is active.
        """
        problems = []
        for number in range(len(self._nodes)):
            place = (self._active + number) % len(self._nodes)
            try:
                answer = await self._ask_one(self._nodes[place], method, path, given)
            except _RemoteError as exc:
                if exc.kind not in _ELSEWHERE:
                    self._active = place
                    raise
                problems.append(f"{self._nodes[place]}: {exc.kind}")
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                problems.append(f"{self._nodes[place]}: {_said(exc)}")
            else:
                self._active = place
                return answer
        raise TemporaryError(f"no namenode is active: {'; '.join(problems)}")

    async def _ask_one(self, node: str, method: str, path: str, given: Mapping[str, Any]) -> dict[str, Any]:
        url = f"{node}/webhdfs/v1{quote(path)}"
        query = {**given, "user.name": self._config.user}
        async with self._session.request(method, url, params=query, allow_redirects=False) as answer:
            return await self._read(answer)

    async def _read(self, answer: aiohttp.ClientResponse) -> dict[str, Any]:
        """The answer as plain data, `Location` for a redirect. Raises _RemoteError and what aiohttp raises."""
        text = await text_of(answer)
        if answer.status == 307:
            return {"Location": answer.headers.get("Location", "")}
        try:
            data = msgspec.json.decode(text) if text else {}
        except msgspec.DecodeError:
            data = {}
        if answer.status < 300:
            return data if isinstance(data, dict) else {}
        told = data.get("RemoteException", {}) if isinstance(data, dict) else {}
        message = " ".join(str(told.get("message", text)).split())[:200]
        kind = str(told.get("exception", "SecurityException" if answer.status == 401 else ""))
        raise _RemoteError(answer.status, kind, message)

    async def close(self) -> None:
        await self._session.close()


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    """Read in a thread: it may be on a disk that is slow."""
    body.file.seek(0)
    while piece := await asyncio.to_thread(body.file.read, _CHUNK):
        yield piece


def _said(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200] or ("no answer in time" if isinstance(exc, TimeoutError) else repr(exc))

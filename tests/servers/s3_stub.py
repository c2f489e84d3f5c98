"""A stub of an S3 server in this process: it stores what is put, lists and gives it, and misbehaves when told to.

It checks what a server checks: CRC-32 of each body, `If-None-Match`, `If-Match`, sizes of parts; no signatures.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import json
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import zstandard
from aiohttp import web

XML = "application/xml"
GetFault = tuple[int, str] | int | float
"""(status, code); after so many bytes the connection breaks; so many seconds before the answer."""


class S3Stub:
    """One bucket of the name `bucket`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        """Key -> headers of the request that made it, in small letters."""
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        """Id -> (key, parts)."""
        self.requests: list[str] = []
        """METHOD path?query of all."""
        self.faults: list[tuple[int, str] | str | None] = []
        """What the next requests that store something get: (status, code); "lost": done, and the connection breaks;
        None: nothing."""
        self.every: tuple[int, str] | None = None
        """What all requests get."""
        self.get_faults: dict[str, list[GetFault]] = {}
        """Key -> what the next requests for the object get, one after the other."""
        self.list_faults: list[tuple[int, str] | float] = []
        """(status, code) or seconds before the answer, of the next requests for lists."""
        self.page_keys = 1000
        """At most so many are listed at once."""
        self.at_once = 0
        """Most requests at the same time."""
        self.url = ""
        self._now = 0
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[S3Stub]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._any)
        runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def config(self, **more: Any) -> dict[str, Any]:
        """Of an output that stores here."""
        return {
            "bucket": "bucket",
            "endpoint_url": self.url,
            "addressing": "path",
            "access_key": "stub",
            "secret_key": "stub-secret",
            **more,
        }

    def events(self) -> list[dict[str, Any]]:
        """Those of all objects, in the order in which the objects came."""
        return [json.loads(line) for key, data in self.objects.items() for line in opened(key, data).splitlines()]

    async def _any(self, request: web.Request) -> web.StreamResponse:
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        try:
            return await self._answer(request)
        finally:
            self._now -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(f"{request.method} {request.path_qs}")
        if self.every is not None:
            return error(*self.every)
        bucket, _, key = request.path.lstrip("/").partition("/")
        if bucket != "bucket":
            return error(404, "NoSuchBucket", "The specified bucket does not exist")
        fault = self.faults.pop(0) if self.faults and request.method in ("PUT", "POST") else None
        if isinstance(fault, tuple):
            return error(*fault)
        if request.method == "GET" and key and "uploads" not in request.query:
            return await self._given(request, key)
        if request.query.get("list-type") == "2":
            return await self._listed(request)
        answer = self._do(request, key, body)
        if fault == "lost" and request.transport is not None:
            request.transport.abort()
        return answer

    def _do(self, request: web.Request, key: str, body: bytes) -> web.Response:
        identity = request.query.get("uploadId", "")
        if request.method == "PUT":
            return self._put_part(request, identity, body) if identity else self._put(request, key, body)
        if request.method == "POST":
            return self._complete(request, identity, body) if identity else self._begin(key)
        if request.method == "DELETE":
            known = self.uploads.pop(identity, None)
            return web.Response(status=204) if known else error(404, "NoSuchUpload")
        if "uploads" in request.query:
            return self._uploads_listed(request.query.get("prefix", ""))
        if key and key not in self.objects:
            return error(404, "NoSuchKey")
        return web.Response(body=self.objects.get(key, b""))

    def _put(self, request: web.Request, key: str, body: bytes) -> web.Response:
        if request.headers.get("x-amz-checksum-crc32") != crc(body):
            return error(400, "BadDigest")
        if request.headers.get("If-None-Match") == "*" and key in self.objects:
            return error(412, "PreconditionFailed")
        self.objects[key] = body
        self.headers[key] = {name.lower(): value for name, value in request.headers.items()}
        return web.Response(headers={"ETag": '"etag"'})

    def _begin(self, key: str) -> web.Response:
        identity = f"upload-{next(self._numbers)}"
        self.uploads[identity] = (key, {})
        return xml(f"<InitiateMultipartUploadResult><UploadId>{identity}</UploadId></InitiateMultipartUploadResult>")

    def _put_part(self, request: web.Request, identity: str, body: bytes) -> web.Response:
        if identity not in self.uploads:
            return error(404, "NoSuchUpload")
        if request.headers.get("x-amz-checksum-crc32") != crc(body):
            return error(400, "BadDigest")
        self.uploads[identity][1][int(request.query["partNumber"])] = body
        return web.Response(headers={"ETag": f'"{crc(body)}"'})

    def _complete(self, request: web.Request, identity: str, body: bytes) -> web.Response:
        if identity not in self.uploads:
            return error(404, "NoSuchUpload")
        key, parts = self.uploads[identity]
        if request.headers.get("If-None-Match") == "*" and key in self.objects:
            return error(412, "PreconditionFailed")
        assert body.count(b"<PartNumber>") == len(parts)
        self.objects[key] = b"".join(part for _, part in sorted(parts.items()))
        del self.uploads[identity]
        return xml('<CompleteMultipartUploadResult><ETag>"etag"</ETag></CompleteMultipartUploadResult>')

    async def _listed(self, request: web.Request) -> web.Response:
        fault = self.list_faults.pop(0) if self.list_faults else 0.0
        if isinstance(fault, tuple):
            return error(*fault)
        await asyncio.sleep(fault)
        most = min(int(request.query.get("max-keys", 1000)), self.page_keys)
        after = request.query.get("continuation-token", "")
        found = sorted(key for key in self.objects if key.startswith(request.query.get("prefix", "")) and key > after)
        contents = "".join(
            f"<Contents><Key>{quote(key)}</Key><Size>{len(self.objects[key])}</Size></Contents>" for key in found[:most]
        )
        more = f"<NextContinuationToken>{found[most - 1]}</NextContinuationToken>" if len(found) > most else ""
        head = f"<EncodingType>url</EncodingType><IsTruncated>{str(bool(more)).lower()}</IsTruncated>"
        return xml(f"<ListBucketResult>{head}{more}{contents}</ListBucketResult>")

    async def _given(self, request: web.Request, key: str) -> web.StreamResponse:
        fault = self.get_faults[key].pop(0) if self.get_faults.get(key) else None
        if isinstance(fault, float):
            await asyncio.sleep(fault)
        if isinstance(fault, tuple):
            return error(*fault)
        if key not in self.objects:
            return error(404, "NoSuchKey")
        data = self.objects[key]
        if request.headers.get("If-Match", etag(data)) != etag(data):
            return error(412, "PreconditionFailed")
        first = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": etag(data), "Content-Length": str(len(data) - first)}
        response = web.StreamResponse(status=206 if "Range" in request.headers else 200, headers=headers)
        await response.prepare(request)
        await response.write(data[first : first + fault if isinstance(fault, int) else None])
        if isinstance(fault, int) and request.transport is not None:
            request.transport.abort()
        return response

    def _uploads_listed(self, prefix: str) -> web.Response:
        mine = [(identity, key) for identity, (key, _) in self.uploads.items() if key.startswith(prefix)]
        text = "".join(f"<Upload><Key>{escape(key)}</Key><UploadId>{one}</UploadId></Upload>" for one, key in mine)
        return xml(f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{text}</ListMultipartUploadsResult>")


def opened(key: str, data: bytes) -> bytes:
    """An object as it was before compression, by the ending of its key."""
    if key.endswith(".gz"):
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if key.endswith(".zst") else data


def etag(data: bytes) -> str:
    return f'"{sha256(data).hexdigest()}"'


def crc(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def xml(text: str) -> web.Response:
    return web.Response(text=f'<?xml version="1.0"?>{text}', content_type=XML)


def error(status: int, code: str, message: str = "As the test wants it.") -> web.Response:
    """An error as S3 tells it."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=f'<?xml version="1.0"?>{text}', content_type=XML)

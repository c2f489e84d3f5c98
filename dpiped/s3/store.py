"""A bucket: puts each object once, whole, by one request or in parts. All calls block.

An object is put with `If-None-Match: *`. That it is there already (412) is what a repeat after a lost answer sees, and
means success: a key names the same bytes for ever. Each request carries the CRC-32 of what it sends, which the store
checks.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

from dpiped.objects.body import Body
from dpiped.s3.client import Connection
from dpiped.s3.config import BucketConfig
from dpiped.s3.errors import NO_UPLOAD, THERE, code_of, request_errors

PART_BYTES = 8 << 20
"""Held in memory, once for each object that is being sent."""
MAX_PARTS = 10_000


@dataclass(slots=True)
class _Upload:
    """One that was begun: its id, and the parts that the store has."""

    identity: str
    parts: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Number -> (etag, crc)."""


class BucketStore:
    """Thread-safe, as far as no key is put by two threads at once."""

    def __init__(self, config: BucketConfig, connections: int = 1) -> None:
        self._config = config
        self._connection = Connection(config, connections)
        self._uploads: dict[str, _Upload] = {}
        self._client: Any = None

    def connect(self) -> None:
        """Makes the client; asks nobody but, for a role, STS. Raises TemporaryError."""
        self._client = self._connection.client(self._config.bucket)

    def _told(self, exc: Exception) -> Exception:
        return self._connection.told(exc, self._config.bucket)

    # ---- objects ---------------------------------------------------------------------------------------------------
    def put(self, key: str, body: Body, content_type: str) -> bool:
        """Stores an object; False: it was there. Raises TemporaryError; what was sent in parts is kept for the next
        call.
        """
        try:
            if body.size > self._config.multipart_bytes:
                return self._put_parts(key, body, content_type)
            self._client.put_object(
                **self._named(key),
                **self._once(),
                **self._made(content_type),
                Body=body.file,
                ContentLength=body.size,
                ChecksumCRC32=_encoded(body.crc32),
            )
        except request_errors() as exc:
            if code_of(exc) in THERE:
                return False
            if code_of(exc) == NO_UPLOAD:
                self._uploads.pop(key, None)
            raise self._told(exc) from None
        return True

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._config.bucket, "Key": key}

    def _once(self) -> dict[str, str]:
        return {"IfNoneMatch": "*"} if self._config.create_only else {}

    def _made(self, content_type: str) -> dict[str, str]:
        """How an object is kept."""
        config = self._config
        given = {
            "ContentType": content_type,
            "ServerSideEncryption": config.sse,
            "SSEKMSKeyId": config.kms_key,
            "StorageClass": config.storage_class,
        }
        return {name: value for name, value in given.items() if value}

    # ---- parts -----------------------------------------------------------------------------------------------------
    def _put_parts(self, key: str, body: Body, content_type: str) -> bool:
        upload = self._uploads.get(key)
        if upload is None:
            if self._config.create_only and self._is_there(key):
                return False
            begun = self._client.create_multipart_upload(
                **self._named(key), **self._made(content_type), ChecksumAlgorithm="CRC32"
            )
            upload = self._uploads[key] = _Upload(begun["UploadId"])
        part_bytes = max(PART_BYTES, math.ceil(body.size / MAX_PARTS))
        body.file.seek(0)
        for number in range(1, math.ceil(body.size / part_bytes) + 1):
            self._put_part(key, upload, number, body.file.read(part_bytes))
        parts = [
            {"PartNumber": number, "ETag": etag, "ChecksumCRC32": crc}
            for number, (etag, crc) in sorted(upload.parts.items())
        ]
        try:
            self._client.complete_multipart_upload(
                **self._named(key), **self._once(), UploadId=upload.identity, MultipartUpload={"Parts": parts}
            )
        except request_errors() as exc:
            if code_of(exc) in THERE:
                self._uploads.pop(key)
                self.abort(key)
            raise
        self._uploads.pop(key)
        return True

    def _put_part(self, key: str, upload: _Upload, number: int, data: bytes) -> None:
        crc = _encoded(zlib.crc32(data))
        if upload.parts.get(number, ("", ""))[1] == crc:
            return
        answer = self._client.upload_part(
            **self._named(key), UploadId=upload.identity, PartNumber=number, Body=data, ChecksumCRC32=crc
        )
        upload.parts[number] = (answer["ETag"], crc)

    def _is_there(self, key: str) -> bool:
        """Asked before many bytes are sent; a user without the right to look is told by the end of the upload."""
        try:
            self._client.head_object(**self._named(key))
        except request_errors() as exc:
            if code_of(exc) in ("404", "403", "NoSuchKey", "NotFound"):
                return False
            raise
        return True

    def abort(self, key: str) -> int:
        """Aborts all uploads of this key that were begun and not completed; how many. Raises TemporaryError."""
        aborted = 0
        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._config.bucket, Prefix=key
            )
            found = [one for page in pages for one in page.get("Uploads", []) if one["Key"] == key]
            for one in found:
                self._client.abort_multipart_upload(**self._named(key), UploadId=one["UploadId"])
                aborted += 1
        except request_errors() as exc:
            if code_of(exc) != NO_UPLOAD:
                raise self._told(exc) from None
        return aborted

    # ---- check -----------------------------------------------------------------------------------------------------
    def probe(self, key: str) -> list[str]:
        """What keeps objects from being stored, a line each; stores nothing: an upload is begun and aborted. Raises
        TemporaryError when nobody answers.
        """
        try:
            self._client.head_bucket(Bucket=self._config.bucket)
        except request_errors() as exc:
            if code_of(exc) not in ("403", "AccessDenied"):  # whoever may only put is refused here
                raise self._told(exc) from None
        try:
            begun = self._client.create_multipart_upload(**self._named(key), **self._made(""))
            self._client.abort_multipart_upload(**self._named(key), UploadId=begun["UploadId"])
        except request_errors() as exc:
            return [f"no right to put objects: {self._told(exc)}"]
        return []

    def close(self) -> None:
        self._connection.close()


def _encoded(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()

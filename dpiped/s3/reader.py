"""Objects that are read: which there are, and their bytes, also over connections that break. All calls block.

An object that is read on after a break is the same one: its ETag is asked for (`If-Match`) and looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from dpiped.errors import DpipeError
from dpiped.s3.address import Address
from dpiped.s3.client import Connection
from dpiped.s3.config import AccessConfig
from dpiped.s3.errors import code_of, request_errors

PAUSES_SECS = (0.1, 0.5, 1.0, 2.0)
"""Before each further try of what the store or the way to it refused."""
READ_BYTES = 256 << 10
"""At most read at once: what is lost of it when the connection breaks is asked for again."""
_REPLACED = "it was replaced since it was listed or begun"
_UNREADABLE = {
    "AccessDenied": "the user has no right to read it",
    "403": "the user has no right to read it",
    "InvalidObjectState": "it lies in an archive of the store: restore it first",
    "InvalidRequest": "it may be encrypted with a key of somebody else",
    "InvalidRange": _REPLACED,
    "PreconditionFailed": _REPLACED,
    "412": _REPLACED,
    "416": _REPLACED,
    "MethodNotAllowed": "it is gone",
    "NoSuchKey": "it is gone",
    "404": "it is gone",
}
"""What the store says of one object while it gives others, and what that means."""
_KEY_OF_KMS = "KMS."

T = TypeVar("T")


class ObjectError(DpipeError):
    """This object cannot be read, or not any further, however often one asks; others can."""


class ObjectReader:
    """All buckets of one access. Thread-safe."""

    def __init__(self, config: AccessConfig, connections: int) -> None:
        self._connection = Connection(config, connections)
        self._closing = threading.Event()

    def sizes(self, bucket: str, prefix: str, most: int = 1000) -> Iterator[tuple[str, int]]:
        """(key, size) of all objects whose keys begin with the prefix, in the order of the store, asked for `most` at
        once. Raises TemporaryError.
        """
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": most}
        is_more = True
        while is_more:
            page = self.patiently(bucket, lambda client: client.list_objects_v2(**asked))
            yield from ((one["Key"], one["Size"]) for one in page.get("Contents", ()))
            is_more = page["IsTruncated"]
            asked["ContinuationToken"] = page.get("NextContinuationToken")

    def open(self, address: Address, size: int) -> ObjectStream:
        """An object of this size. Asks nobody yet."""
        return ObjectStream(self, address, size)

    def patiently(self, bucket: str, call: Callable[[Any], T]) -> T:
        """What the call of a client gives, tried again where that may help. Raises TemporaryError, at once if an
        operator has to do something or this is being closed.
        """
        pauses = iter(PAUSES_SECS)
        while True:
            client = self._connection.client(bucket)
            try:
                return call(client)
            except request_errors() as exc:
                told = self._connection.told(exc, bucket)
            pause = next(pauses, None)
            if pause is None or told.retry_after_secs is not None or self._closing.wait(pause):
                raise told

    def close(self) -> None:
        """Does not block: threads that wait for the store give up when it has answered, or its time is over."""
        self._closing.set()
        self._connection.close()


class ObjectStream:
    """The bytes of one object. Used by one thread at a time."""

    def __init__(self, reader: ObjectReader, address: Address, size: int) -> None:
        self._reader = reader
        self._address = address
        self._size = size
        self._at = 0
        self._etag = ""
        self._body: Any = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end. Raises ObjectError; TemporaryError when the store does not answer."""
        if self._at == self._size or not size:
            return b""
        data = self._reader.patiently(self._address.bucket, lambda client: self._some(client, min(size, READ_BYTES)))
        self._at += len(data)
        return data

    def _some(self, client: Any, size: int) -> bytes:
        if self._body is None:
            self._body = self._asked(client)
        try:
            data: bytes = self._body.read(size)
            if not data:
                raise ConnectionError("the answer ended too early")
        except request_errors():
            self.close()
            raise
        return data

    def _asked(self, client: Any) -> Any:
        """The body of an answer that begins where the reading is."""
        further = {"Range": f"bytes={self._at}-"} if self._at else {}
        if self._etag:
            further["IfMatch"] = self._etag
        try:
            answer = client.get_object(Bucket=self._address.bucket, Key=self._address.key, **further)
        except request_errors() as exc:
            why = _why_unreadable(code_of(exc))
            if why:
                raise ObjectError(why) from None
            raise
        etag = answer.get("ETag", "")
        if self._at + answer["ContentLength"] != self._size or (self._etag and etag != self._etag):
            answer["Body"].close()
            raise ObjectError(_REPLACED)
        self._etag = etag
        return answer["Body"]

    def close(self) -> None:
        """A connection whose answer was not read to its end is closed, too."""
        if self._body is not None:
            self._body.close()
            self._body = None


def _why_unreadable(code: str) -> str:
    """Empty: that is no matter of one object."""
    if code.startswith(_KEY_OF_KMS):
        return f"{code}: the user has no right to use its key"
    return f"{code}: {_UNREADABLE[code]}" if code in _UNREADABLE else ""

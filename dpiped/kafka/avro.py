"""Messages in Avro, made JSON: by the schema of a file, by a schema registry, or by the schema that they bring.

A message of a registry begins with a zero byte and the id of its schema (4 bytes, big endian); an object container
file begins with `Obj` and 1. Any other is written by the schema of the config.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from datetime import date, datetime, time
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import msgspec
from pydantic import Field, SecretStr, model_validator

from dpiped.config.base import ConfigModel, Url
from dpiped.errors import DpipeError, FatalPluginError, TemporaryError

_CONTAINER = b"Obj\x01"
_ID_BYTES = 5


class AvroConfig(ConfigModel):
    """Messages are in Avro."""

    schema_file: str = Field(default="", examples=["/etc/dpipe/event.avsc"])
    """File of the schema; messages of one that is another must name it by the registry, or bring it."""
    registry: Url | None = Field(default=None, examples=["http://127.0.0.1:8081"])
    """Schema registry, asked for the schemas whose ids messages begin with."""
    user: str = ""
    """User name at the registry."""
    password: SecretStr | None = None
    """Its password; write it as `${env:NAME}`."""

    @model_validator(mode="after")
    def _check_user(self) -> Self:
        if (self.password is None) != (not self.user):
            raise ValueError("user: expected user and password, or neither")
        if self.schema_file and self.registry is not None:
            raise ValueError("schema_file: expected only one of schema_file and registry")
        return self


class DamagedMessageError(DpipeError):
    """One message is no Avro of its schema."""


class AvroReader:
    """Used by one thread; blocks while it asks the registry for a schema that it does not know."""

    def __init__(self, config: AvroConfig, timeout_secs: float) -> None:
        self._config = config
        self._timeout_secs = timeout_secs
        self._schemas: dict[int, Any] = {}
        self._own: Any = None

    def open(self) -> None:
        """Reads the schema of the config. Raises FatalPluginError with what is wrong."""
        try:
            import fastavro
        except ImportError as exc:
            raise FatalPluginError("`avro` needs fastavro: pip install 'dpipe[avro]'") from exc
        self._fast = fastavro
        if not self._config.schema_file:
            return
        try:
            self._own = fastavro.parse_schema(json.loads(Path(self._config.schema_file).read_bytes()))
        except OSError as exc:
            raise FatalPluginError(f"schema_file {self._config.schema_file}: {exc.strerror}") from exc
        except Exception as exc:  # whatever a wrong schema makes the library raise
            raise FatalPluginError(f"schema_file {self._config.schema_file} is no Avro schema: {exc}") from exc

    def read(self, value: bytes) -> bytes:
        """The message as JSON, one object a line.

        Raises:
            DamagedMessageError: it cannot be read.
            TemporaryError: the registry does not answer.
        """
        if value[:4] == _CONTAINER:
            return self._decode(lambda: list(self._fast.reader(BytesIO(value))))
        if self._config.registry is not None:
            if len(value) < _ID_BYTES or value[0] != 0:
                raise DamagedMessageError("it does not begin with the id of a schema")
            schema = self._schema(int.from_bytes(value[1:_ID_BYTES], "big"))
            return self._decode(lambda: [self._fast.schemaless_reader(BytesIO(value[_ID_BYTES:]), schema, None)])
        if self._own is None:
            raise DamagedMessageError("it brings no schema, and neither schema_file nor registry is set")
        return self._decode(lambda: [self._fast.schemaless_reader(BytesIO(value), self._own, None)])

    def _decode(self, read: Any) -> bytes:
        try:
            return b"\n".join([_encode(event) for event in read()])
        except Exception as exc:  # the library raises nearly anything for damaged bytes
            raise DamagedMessageError(f"no Avro of its schema: {type(exc).__name__} {exc}"[:300]) from exc

    def _schema(self, number: int) -> Any:
        if number not in self._schemas:
            self._schemas[number] = self._fetch(number)
        schema = self._schemas[number]
        if schema is None:
            raise DamagedMessageError(f"the registry knows no schema {number}")
        return schema

    def _fetch(self, number: int) -> Any:
        """None if there is none of this number."""
        url = f"{str(self._config.registry).rstrip('/')}/schemas/ids/{number}"
        request = urllib.request.Request(url, headers=self._headers())
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_secs) as answer:
                return self._fast.parse_schema(json.loads(json.load(answer)["schema"]))
        except urllib.error.HTTPError as exc:
            if exc.code == 404:
                return None
            raise TemporaryError(f"schema registry {url} answered {exc.code}") from exc
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise TemporaryError(f"schema registry {url}") from exc

    def _headers(self) -> dict[str, str]:
        if self._config.password is None:
            return {}
        pair = f"{self._config.user}:{self._config.password.get_secret_value()}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _encode(event: object) -> bytes:
    return msgspec.json.encode(_plain(event))


def _plain(value: Any) -> Any:
    """As JSON can say it: bytes as text if they are UTF-8, else base64; times as RFC 3339; not-a-number as null."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    return value

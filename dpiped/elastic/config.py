"""The config of the output `elasticsearch`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from dpiped.config.base import Bytes, ConfigModel, PluginConfig, PositiveSecs, Url
from dpiped.elastic.names import check_index
from dpiped.tls import ClientTls

_STREAM = re.compile(r"[a-z0-9][a-z0-9_.-]{0,254}")


def _check_stream(text: str) -> str:
    if not _STREAM.fullmatch(text):
        raise ValueError("expected the name of a data stream such as logs-app-prod: small letters, digits, `-_.`")
    return text


class SetupConfig(ConfigModel):
    """What is set up at the server when the output starts."""

    enabled: bool = True
    """Put an index template, named like the output: `@timestamp` is a date, texts are keywords, `message` full text."""
    priority: Annotated[int, Field(ge=0)] = 150
    """Of the template, where several match an index."""
    shards: Annotated[int, Field(gt=0)] | None = Field(default=None, examples=[1])
    """Primary shards of new indexes; by default as the server thinks."""
    replicas: Annotated[int, Field(ge=0)] | None = Field(default=None, examples=[1])
    """Copies of new indexes; by default as the server thinks."""
    ilm_policy: str = Field(default="", examples=["logs"])
    """An ILM policy that is there already, for new indexes."""
    delete_after_days: Annotated[int, Field(gt=0)] | None = Field(default=None, examples=[30])
    """Makes an ILM policy named like the output that deletes old indexes; a data stream gets it as its lifecycle."""

    @model_validator(mode="after")
    def _check(self) -> SetupConfig:
        if self.ilm_policy and self.delete_after_days is not None:
            raise ValueError("delete_after_days: expected only one of ilm_policy and delete_after_days")
        return self


class ElasticsearchConfig(PluginConfig):
    """Where the server is, and how events are named there."""

    hosts: tuple[Url, ...] = (Url("http://127.0.0.1:9200"),)
    """Nodes, asked in turn; one that does not answer is left out for a while."""
    cloud_id: str = Field(default="", examples=["name:ZXU.."])
    """Instead of hosts: the id of a deployment at Elastic Cloud."""
    index: Annotated[str, AfterValidator(check_index)] = "logs-{project}-%Y.%m.%d"
    """Index, by the time of the event (UTC), `{project}`, `{prefix}` (`index_prefix` of the project), `{ident}`,
    `{host}` and fields of the event such as `{_area}`; or the short forms `@ym`, `@ymw`, `@ymd`.
    """
    data_stream: Annotated[str, AfterValidator(_check_stream)] | None = Field(default=None, examples=["logs-app-prod"])
    """Instead of index: a data stream."""
    op: Literal["create", "index"] = "create"
    """`create`: an event is stored once, a repeat is recognised; `index`: a later event with the same id takes the
    place of the earlier one.
    """
    id_field: str = Field(default="", examples=["window_id"])
    """Field that is the id, for `op = "index"`; by default, and without it, an id of the place in the journal."""
    user: str = ""
    """User name of basic authentication."""
    password: SecretStr | None = None
    """Its password; write it as `${env:NAME}`."""
    api_key: SecretStr | None = None
    """Encoded API key; write it as `${env:NAME}`."""
    tls: ClientTls = ClientTls()
    """For https: which authorities are trusted, which certificate is shown."""
    compression: Literal["none", "gzip"] = "none"
    """Of request bodies."""
    request_bytes: Annotated[Bytes, Field(ge=1024)] = 5 << 20
    """A request has about so many bytes at most; one that is too large for the server is halved."""
    request_events: Annotated[int, Field(gt=0)] = 5_000
    """A request has at most so many events."""
    max_requests: Annotated[int, Field(gt=0, le=64)] = 4
    """At most so many requests at once; how many is found by the answers of the server."""
    timeout_secs: PositiveSecs = 60.0
    """Time for one request."""
    setup: SetupConfig = SetupConfig()
    """Index template and life of old data."""

    @model_validator(mode="after")
    def _check(self) -> ElasticsearchConfig:
        if self.cloud_id and "hosts" in self.model_fields_set:
            raise ValueError("hosts: expected only one of hosts and cloud_id")
        if not self.hosts:
            raise ValueError("hosts: expected at least one")
        if self.data_stream is not None and "index" in self.model_fields_set:
            raise ValueError("index: expected only one of index and data_stream")
        if self.api_key is not None and (self.user or self.password is not None):
            raise ValueError("api_key: set api_key, or user and password, not both")
        if self.data_stream is not None and self.op == "index":
            raise ValueError("op: data streams only take `create`")
        if self.id_field and self.op == "create":
            raise ValueError(
                'id_field: with op = "create" a second event of the same id would be lost; set op = "index"'
            )
        return self

    @property
    def target(self) -> str:
        """Template of the index, or the data stream."""
        return self.index if self.data_stream is None else self.data_stream

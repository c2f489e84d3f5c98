"""The config of the output `kafka`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from dpiped.kafka.config import TOPIC, DailyTopics, KafkaConfig
from dpiped.kafka.topics import check_topic

HEADER_FIELDS = ("project", "ident", "host", "source")


def _check_plain_topic(text: str) -> str:
    if not TOPIC.fullmatch(text):
        raise ValueError("expected a topic: letters, digits, `.`, `_`, `-`")
    return text


class KafkaOutputConfig(KafkaConfig):
    """Where events go, and how they are delivered."""

    topic: Annotated[str, AfterValidator(check_topic)] | DailyTopics = Field(examples=["logs.{project}"])
    """Topic; `%Y %m %d ..` of the event's time (UTC), `{project}`, `{prefix}`, `{ident}`, `{host}` and fields of the
    event such as `{_area}` may be in it. A table `{ format = "alerts_%s" }`: one for each day, by the time when a pack
    was accepted.
    """
    key: str = Field(default="", examples=["_log_info.uid"])
    """Field whose value is the key: events of one key keep their order."""
    headers: dict[str, str] = Field(default={}, examples=[{"ident": "{ident}"}])
    """Headers of each message; `{project}`, `{ident}`, `{host}` and `{source}` may be in them."""
    exactly_once: bool = True
    """By transactions: who reads what is committed sees each event once. False: at least once, with less delay."""
    transactional_id: str = Field(default="", max_length=200, examples=["centre-kafka"])
    """Another one for each daemon and output at these brokers; by default `dpipe.` and the name of the output."""
    cursor_topic: Annotated[str, AfterValidator(_check_plain_topic)] = "dpipe-cursors"
    """Compacted topic with what was delivered, written in the same transactions; it is made when it is not there."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """Of what is sent."""

    @model_validator(mode="after")
    def _check_headers(self) -> KafkaOutputConfig:
        for text in self.headers.values():
            for name in re.findall(r"\{([^{}]*)\}", text):
                if name not in HEADER_FIELDS:
                    raise ValueError(
                        f"headers: unknown field {{{name}}}: expected one of "
                        + ", ".join("{" + field + "}" for field in HEADER_FIELDS)
                    )
        return self

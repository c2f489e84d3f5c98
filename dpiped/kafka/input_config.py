"""The config of the input `kafka`."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dpiped.config.base import ConfigModel, Secs
from dpiped.kafka.avro import AvroConfig
from dpiped.kafka.config import TOPIC, DailyTopics, KafkaConfig
from dpiped.projection import TIMESTAMP


def _check_topic(text: str) -> str:
    if text.startswith("^"):
        try:
            re.compile(text)
        except re.error as exc:
            raise ValueError(f"pattern of topics: {exc}") from exc
    elif not TOPIC.fullmatch(text):
        raise ValueError("expected a topic (letters, digits, `.`, `_`, `-`), or a pattern that begins with ^")
    return text


class FieldsConfig(ConfigModel):
    """Under which names the events get what their message brought; an empty one is left out."""

    key: str = Field(default="", examples=["_key"])
    """Its key, as text."""
    headers: str = Field(default="", examples=["_headers"])
    """Its headers, as an object of texts."""
    topic: str = Field(default="", examples=["_topic"])
    """Its topic."""
    partition: str = Field(default="", examples=["_partition"])
    """Its partition."""
    offset: str = Field(default="", examples=["_offset"])
    """Its offset."""
    timestamp: str = Field(default="", examples=["_sent"])
    """Its own time, in milliseconds; with `time = { field = "_sent", format = "unix_ms" }` it is that of the events."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [name for name in self.model_dump().values() if name]
        if TIMESTAMP in names:
            raise ValueError(f"expected another name than {TIMESTAMP}, such as _sent, and `time` with it as its field")
        if len(set(names)) < len(names):
            raise ValueError("expected a name of its own for each")
        return self


class KafkaInputConfig(KafkaConfig):
    topics: tuple[Annotated[str, AfterValidator(_check_topic)] | DailyTopics, ...] = Field(
        min_length=1, examples=[["events"]]
    )
    """Topics; one that begins with `^` is a pattern, a table `{ format = "alerts_%s" }` a topic for each day."""
    group: str = Field(min_length=1, examples=["dpipe"])
    """Consumer group; daemons of one group share the partitions."""
    instance: str = Field(default="", examples=["centre-1"])
    """Name of this member, another one in each daemon: one that comes back in time finds its partitions again."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where to begin with topics of which nothing was read at the very first start; later ones are read whole."""
    linger_secs: Secs = 0.1
    """How long messages are gathered to a block."""
    avro: AvroConfig | None = Field(default=None, examples=[{"schema_file": "/etc/dpipe/event.avsc"}])
    """When messages are in Avro: they are read as JSON then."""
    fields: FieldsConfig = FieldsConfig()
    """What of a message goes into its events."""

    @property
    def plain(self) -> list[str]:
        """The topics without those of days."""
        return [topic for topic in self.topics if isinstance(topic, str)]

    @property
    def daily(self) -> list[DailyTopics]:
        return [topic for topic in self.topics if isinstance(topic, DailyTopics)]

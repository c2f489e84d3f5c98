"""What the input and the output `kafka` have in common in their config: the way to the brokers, and daily topics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from dpiped.config.base import ConfigModel, PluginConfig, PositiveSecs
from dpiped.tls import ClientTls

TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""What Kafka takes as the name of a topic."""
_BROKER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_SECRET = re.compile(r"password|secret|passphrase|\.key\.pem|jaas|oauthbearer\.config", re.IGNORECASE)
_DAY_CODES = "YmdjyGVu"
OWN = frozenset(
    {
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.report.only.error",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.remote.assignor",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "transactional.id",
    }
)
"""Properties of librdkafka that a wrong value of would break what is promised."""
Property = str | int | float | bool


def _check_broker(text: str) -> str:
    if not _BROKER.fullmatch(text):
        raise ValueError('expected HOST:PORT such as "kafka-1:9092"')
    return text


def _check_date(text: str) -> str:
    codes = re.findall(r"%(.)", text)
    unknown = [code for code in codes if code not in _DAY_CODES]
    if unknown or not codes:
        raise ValueError(f"expected time codes of a day, of {' '.join('%' + code for code in _DAY_CODES)}")
    return text


class DailyTopics(ConfigModel):
    """A topic for each day, under a name with the date in it. The next day's topic is used from `change_hour` on."""

    format: str = Field(examples=["alerts_%s"])
    """Name of the topic; `%s` is the date."""
    date_format: Annotated[str, AfterValidator(_check_date)] = "%Y%m%d"
    """How the date is written (strftime)."""
    change_hour: Annotated[int, Field(ge=0, le=23)] = 22
    """Hour (UTC) from which on the topic of the next day is used."""
    retention_days: Annotated[int, Field(ge=0, le=1000)] = 8
    """Input: the topics of so many days back are read."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.format.count("%s") != 1 or not TOPIC.fullmatch(self.of(0)):
            raise ValueError("format: expected letters, digits, `.`, `_`, `-` and one %s, such as alerts_%s")
        return self

    def of(self, at_ms: int) -> str:
        """The topic for a time in milliseconds."""
        moment = datetime.fromtimestamp(at_ms / 1000, UTC) + timedelta(hours=24 - self.change_hour)
        if not self.change_hour:
            moment -= timedelta(days=1)
        return self._named(moment)

    def all(self, at_ms: int) -> list[str]:
        """The topics that are read at a time: of the days that are kept, and of tomorrow once it may be in use."""
        today = datetime.fromtimestamp(at_ms / 1000, UTC)
        days = [self._named(today - timedelta(days=back)) for back in range(self.retention_days, -1, -1)]
        return list(dict.fromkeys([*days, self.of(at_ms)]))

    def names(self, topic: str) -> bool:
        """Whether the topic may be one of these."""
        before, _, after = self.format.partition("%s")
        return topic.startswith(before) and topic.endswith(after) and len(topic) == len(self.of(0))

    def _named(self, moment: datetime) -> str:
        return self.format.replace("%s", moment.strftime(self.date_format))


class KafkaConfig(PluginConfig):
    """The way to the brokers."""

    brokers: tuple[Annotated[str, AfterValidator(_check_broker)], ...] = Field(
        min_length=1, examples=[["127.0.0.1:9092"]]
    )
    """Some of the brokers; the others are found by them."""
    security: Literal["plaintext", "tls"] = "plaintext"
    """Whether connections are encrypted."""
    tls: ClientTls = ClientTls()
    """With security "tls": which authorities are trusted, which certificate is shown."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How `user` and `password` are proved (SASL)."""
    user: str = ""
    """User name; empty: no SASL."""
    password: SecretStr | None = None
    """Its password; write it as `${env:NAME}`."""
    timeout_secs: PositiveSecs = 30.0
    """Time for one request."""
    properties: dict[str, Property] = Field(default={}, examples=[{"client.rack": "eu-1a"}])
    """Any other property of librdkafka, as it is called there."""
    secret_properties: dict[str, SecretStr] = Field(default={}, examples=[{"ssl.key.password": "${env:KEY_PASSWORD}"}])
    """The same for values that must not be shown."""

    @model_validator(mode="after")
    def _check_way(self) -> Self:
        if (self.password is None) != (not self.user):
            raise ValueError("user: expected user and password, or neither")
        for name in (*self.properties, *self.secret_properties):
            if name in OWN:
                raise ValueError(f"properties: {name} is set by dpipe")
        shown = next((name for name in self.properties if _SECRET.search(name)), None)
        if shown is not None:
            raise ValueError(f"properties: write {shown} in secret_properties, whose values are not shown")
        if self.security != "tls" and self.tls != ClientTls():
            raise ValueError('tls: expected security = "tls" with it')
        return self

    @property
    def shown(self) -> str:
        """The brokers, for messages."""
        return ", ".join(self.brokers)

    @property
    def has_own_security(self) -> bool:
        """Properties say something else about TLS than `security` and `tls` do."""
        names = (*self.properties, *self.secret_properties)
        return any(name.startswith(("ssl.", "enable.ssl.", "security.")) for name in names)

    def certificates(self) -> tuple[bytes, ...]:
        """What the files of TLS hold now, to see whether they were exchanged; empty when they cannot be read."""
        files = [file for file in (self.tls.ca, self.tls.cert, self.tls.key) if file]
        try:
            return tuple(Path(file).read_bytes() for file in files)
        except OSError:
            return ()

    def client_properties(self) -> dict[str, Property]:
        """For librdkafka: what is common to consumers and producers. Never to be shown."""
        found: dict[str, Property] = {
            "bootstrap.servers": ",".join(self.brokers),
            "client.id": "dpipe",
            "socket.timeout.ms": max(int(self.timeout_secs * 1000), 1000),
            "reconnect.backoff.max.ms": 2_000,
            "topic.metadata.refresh.interval.ms": 30_000,
            "topic.metadata.propagation.max.ms": 2_000,
            "security.protocol": ("sasl_" if self.user else "") + ("ssl" if self.security == "tls" else "plaintext"),
        }
        if self.user and self.password is not None:
            found |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.user,
                "sasl.password": self.password.get_secret_value(),
            }
        if self.security == "tls":
            found |= _tls_properties(self.tls)
        hidden = {name: value.get_secret_value() for name, value in self.secret_properties.items()}
        return {**found, **self.properties, **hidden}


def _tls_properties(tls: ClientTls) -> Mapping[str, Property]:
    files = {
        "ssl.ca.location": tls.ca,
        "ssl.certificate.location": tls.cert,
        "ssl.key.location": tls.key or tls.cert,
    }
    verify: dict[str, Property] = {} if tls.verify else {"enable.ssl.certificate.verification": False}
    return {**{name: file for name, file in files.items() if file}, **verify}

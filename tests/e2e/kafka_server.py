"""One real Kafka broker, and what tests ask of it.

DPIPE_KAFKA names the folder with its jars (`mvn dependency:copy-dependencies` with tests/servers/kafka/pom.xml).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.pki import Pki
from tests.servers.kafka_stub import produce, read_all

from .conftest import Program, free_port, wait_until

JARS = os.environ.get("DPIPE_KAFKA", "")
NEEDS_KAFKA = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not JARS, reason="DPIPE_KAFKA names no folder with the jars of a broker"),
]
READY_SECS = 90.0
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={ways},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={ways}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocols}
log.dirs={folder}
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=4194304
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


USER, PASSWORD = "dpipe", "right"
"""Who gets in where SASL is spoken."""
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_LOGIN = "org.apache.kafka.common.security"


class Way(NamedTuple):
    """A listener."""

    protocol: str
    properties: Mapping[str, str] = {}
    """Without `listener.name.NAME.` in front."""


WAYS = {
    "PLAINTEXT": Way("PLAINTEXT"),
    "SASL": Way(
        "SASL_PLAINTEXT",
        {
            "sasl.enabled.mechanisms": "PLAIN",
            "plain.sasl.jaas.config": f'{_LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
        },
    ),
}
"""Of every broker."""


def secure_ways(pki: Pki) -> dict[str, Way]:
    """Listeners with TLS, for brokers whose tests ask for it; clients have to trust the authority."""
    here = _tls(pki, pki.issue("broker"))
    login = f"{_LOGIN}.scram.ScramLoginModule required;"
    scram = {f"{name.lower()}.sasl.jaas.config": login for name in SCRAM}
    return {
        "TLS": Way("SSL", here),
        "ELSEWHERE": Way("SSL", _tls(pki, pki.issue("elsewhere", "kafka.example.org"))),
        "MUTUAL": Way("SSL", {**here, "ssl.client.auth": "required"}),
        "SCRAM": Way("SASL_SSL", {**here, "sasl.enabled.mechanisms": ",".join(SCRAM), **scram}),
    }


def _tls(pki: Pki, file: str) -> dict[str, str]:
    """Of a listener that shows the certificate in a file, and trusts clients of the same authority."""
    pem = Path(file).read_bytes()
    key = load_pem_private_key(pem, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.key": _in_one_line(key),
        "ssl.keystore.certificate.chain": _in_one_line(pem[pem.index(b"-----BEGIN CERTIFICATE") :]),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": _in_one_line(Path(pki.ca).read_bytes()),
    }


def _in_one_line(pem: bytes) -> str:
    """As a properties file takes it."""
    return "\\n".join(pem.decode().splitlines())


class Kafka(Program):
    """Broker and controller in one process, on ports of its own."""

    def __init__(self, folder: Path, port: int = 0, ways: Mapping[str, Way] | None = None) -> None:
        every = {**WAYS, **(ways or {})}
        self.ways = {name: f"127.0.0.1:{free_port()}" for name in every}
        """Name of a listener -> HOST:PORT."""
        if port:
            self.ways["PLAINTEXT"] = f"127.0.0.1:{port}"
        self.address = self.ways["PLAINTEXT"]
        self._data, self._file = folder / "kafka-data", folder / "server.properties"
        values = {
            "ways": ",".join(f"{name}://{address}" for name, address in self.ways.items()),
            "protocols": ",".join(f"{name}:{way.protocol}" for name, way in every.items()),
            "controller": free_port(),
            "folder": self._data,
        }
        own = "".join(
            f"listener.name.{name.lower()}.{key}={value}\n"
            for name, way in every.items()
            for key, value in way.properties.items()
        )
        self._file.write_text(PROPERTIES.format(**values) + own, encoding="utf-8")
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        memory = ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC"]
        super().__init__(folder, "kafka", ["java", *memory, quiet, "-cp", f"{JARS}/*", "kafka.Kafka", str(self._file)])

    def start(self) -> None:
        if not self._data.exists():
            number = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]
            tool = [shutil.which("java") or "java", "-Xmx256m", "-cp", f"{JARS}/*", "kafka.tools.StorageTool", "format"]
            users = [f"--add-scram={name}=[name={USER},password={PASSWORD}]" for name in SCRAM]
            command = [*tool, "-t", number, "-c", str(self._file), *users]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        super().start()
        wait_until(self._ready, "the broker gets ready", READY_SECS)

    def admin(self) -> Any:
        return AdminClient({"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 200, "log_level": 0})

    def _ready(self) -> bool:
        assert self.running, self.text()[-3000:]
        try:
            return bool(self.admin().list_topics(timeout=0.5).brokers)
        except Exception:
            return False

    def create(self, *topics: str, partitions: int = 4, config: dict[str, str] | None = None) -> None:
        new = [
            NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config or {}) for topic in topics
        ]
        admin = self.admin()  # what it was asked is given up with it
        for answer in admin.create_topics(new).values():
            answer.result(30)

    def send(self, topic: str, numbers: Iterable[int]) -> None:
        """Events with `n`, spread over the partitions."""
        given = list(numbers)
        for part in range(4):
            some = [b'{"n":%d}' % n for n in given if n % 4 == part]
            produce(self.address, topic, some, key=b"key-%d" % part)

    def numbers(self, topic: str) -> Counter[int]:
        """How often each `n` is in the topic, for those who read what is committed."""
        return Counter(json.loads(message.value())["n"] for message in read_all(self.address, topic, 60))

    def left_by(self, group: str, topic: str) -> int:
        """How many offsets of a topic a group has not committed yet, as tools for groups show it."""
        with Consumer({"bootstrap.servers": self.address, "group.id": group, "log_level": 0}) as asking:
            parts = asking.list_topics(topic, timeout=20).topics[topic].partitions
            left = 0
            for place in asking.committed([TopicPartition(topic, number) for number in parts], timeout=20):
                _, end = asking.get_watermark_offsets(place, timeout=20)
                left += end - max(place.offset, 0)
        return left

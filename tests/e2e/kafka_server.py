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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

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
listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_dpipe="right";
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


class Kafka(Program):
    """Broker and controller in one process, on ports of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.port, self.sasl_port = port or free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._data, self._file = folder / "kafka-data", folder / "server.properties"
        values = {"port": self.port, "sasl": self.sasl_port, "controller": free_port(), "folder": self._data}
        self._file.write_text(PROPERTIES.format(**values), encoding="utf-8")
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        memory = ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC"]
        super().__init__(folder, "kafka", ["java", *memory, quiet, "-cp", f"{JARS}/*", "kafka.Kafka", str(self._file)])

    def start(self) -> None:
        if not self._data.exists():
            number = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]
            tool = [shutil.which("java") or "java", "-Xmx256m", "-cp", f"{JARS}/*", "kafka.tools.StorageTool", "format"]
            subprocess.run([*tool, "-t", number, "-c", str(self._file)], check=True, capture_output=True, timeout=60)
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

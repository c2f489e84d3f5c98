"""Output `kafka`: sends events as messages, one each, in JSON.

Delivery: exactly once for those who read what is committed: what was delivered is written in the same transaction as
the events, and is asked for at each start. With `exactly_once = false` at least once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NoReturn, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from dpiped.api import (
    HEADER_FIELDS,
    SLOW_SECS,
    Batch,
    FatalPluginError,
    Head,
    KafkaOutputConfig,
    LostTrackError,
    Marker,
    Outgoing,
    Output,
    PackView,
    RejectedError,
    TemporaryError,
    Troubles,
    first_contact,
    name_of,
    reason_of,
    register,
    topic_names,
)

T = TypeVar("T")
CONTACT_SECS = 10.0
STEP_SECS = 0.5
"""After so long a call to the library looks whether it shall stop."""
LOOK_BACK = 2_000
"""So many messages of the cursor topic are read first; ten times as many when the marker is not among them."""
FENCED = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
ABSENT = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION")
TRANSACTION_SECS = 120.0
"""A transaction that is not at its end by then is looked at anew; the library itself gives up after 60 s."""
COMPACTED = {"cleanup.policy": "compact", "segment.bytes": str(16 << 20), "min.cleanable.dirty.ratio": "0.05"}


@register("kafka")
class KafkaOutput(Output[KafkaOutputConfig]):
    batch_defaults: ClassVar[Mapping[str, int | float]] = {"max_secs": 0.1}  # ten transactions a second at most
    _producer: Any = None

    def __init__(self, config: KafkaOutputConfig, context: Any) -> None:
        super().__init__(config, context)
        topic = config.topic
        self._names = topic_names(topic if isinstance(topic, str) else "", context.index_prefix)
        self._id = config.transactional_id or f"dpipe.{context.name}"
        self._troubles = Troubles(config)
        self._certificates: tuple[bytes, ...] | None = None
        self._failed: list[tuple[str, str, str]] = []
        """(topic, name of the error, text) of what was not delivered."""
        self._limits: dict[str, int] = {}
        """Topic -> largest message that it takes, where that is less than we would send."""
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"kafka {context.name}")
        """Calls may take long, and those of several outputs would take all threads of the loop."""
        self._marker = Marker()

    @classmethod
    def check(cls, config: KafkaOutputConfig) -> list[str]:
        try:
            Producer({**config.properties, "log_level": 0}).close()
        except (KafkaException, TypeError) as exc:
            return [f"properties: {reason_of(exc)}"]
        return []

    @classmethod
    def exclusive(cls, config: KafkaOutputConfig) -> str | None:
        return f"transactional_id {config.transactional_id}" if config.transactional_id else None

    def fields(self) -> Sequence[str]:
        key = (self.config.key,) if self.config.key else ()
        return (*key, *self._names.fields)

    # ---- connection ------------------------------------------------------------------------------------------------
    async def open(self, saved: bytes | None) -> None:
        await self._call(self._open)

    async def _call(self, function: Callable[..., T], *args: Any) -> T:
        """In the producer's own thread; a cancelled caller tells it to stop, and waits until it has."""
        call = asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            self._stopping.set()
            await asyncio.wait((call,))
            raise

    def _open(self) -> None:
        self._producer = self._make_producer()
        found = first_contact(self._producer, self._producer.poll, self._troubles, CONTACT_SECS)
        if self.config.exactly_once:
            self._make_cursor_topic(found.topics)
            self._until_done(self._producer.init_transactions, self.config.timeout_secs)
            self._marker = Marker(self._find_marker())

    async def probe(self) -> list[str]:
        return await self._call(self._probe)

    def _probe(self) -> list[str]:
        """Makes no topic, and takes the transactional id from nobody."""
        self._producer = self._make_producer()
        found = first_contact(self._producer, self._producer.poll, self._troubles, CONTACT_SECS)
        topic = self._names.literal if isinstance(self.config.topic, str) else None
        absent = topic is not None and topic not in found.topics
        return [f"kafka {self.config.shown}: topic {topic} is not there: create it"] if absent else []

    def _make_producer(self) -> Any:
        own: dict[str, Any] = {
            "enable.idempotence": True,
            "compression.type": self.config.compression,
            "partitioner": "murmur2_random",
            "linger.ms": 50,  # few and full requests; the end of a transaction does not wait for it
            "sticky.partitioning.linger.ms": 100,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 1 << 20,
            "delivery.report.only.error": True,
            "log_level": 2,
            "error_cb": self._troubles.note,
            "on_delivery": self._note_failed,
        }
        if self.config.exactly_once:
            own["transactional.id"] = self._id
        else:
            own["message.timeout.ms"] = max(1000, int(self.config.timeout_secs * 1000))
        if self._limits:
            own["batch.size"] = min(self._limits.values())
        self._certificates = self.config.certificates()
        try:
            return Producer({**own, **self.config.client_properties()})
        except (KafkaException, TypeError) as exc:
            raise FatalPluginError(f"kafka {self.config.shown}: {reason_of(exc)}") from exc

    def _note_failed(self, error: Any, message: Any) -> None:
        self._failed.append((message.topic(), error.name(), error.str()))

    def _until_done(self, step: Callable[[float], object], secs: float) -> None:
        """Calls a function of transactions again and again. Raises KafkaException of the library, or TemporaryError."""
        deadline = time.monotonic() + secs
        while True:
            try:
                step(STEP_SECS)
            except KafkaException as exc:
                again = exc.args[0].retriable() or name_of(exc) == "_TIMED_OUT"
                if not again or self._stopping.is_set():
                    raise
                if self._troubles.refused:
                    raise self._troubles.refusal() from exc
                if time.monotonic() >= deadline:
                    raise TemporaryError(f"kafka {self.config.shown}: {self._troubles.last or reason_of(exc)}") from exc
            else:
                return

    # ---- the marker of what was delivered ----------------------------------------------------------------------------
    def _make_cursor_topic(self, topics: Mapping[str, Any]) -> None:
        topic = self.config.cursor_topic
        if topic in topics:
            return
        admin = AdminClient({**self.config.client_properties(), "log_level": 2})
        new = NewTopic(topic, num_partitions=1, replication_factor=-1, config=COMPACTED)
        try:
            admin.create_topics([new], request_timeout=self.config.timeout_secs)[topic].result()
        except KafkaException as exc:
            if name_of(exc) != "TOPIC_ALREADY_EXISTS":
                text = f"cannot create the topic {topic}: {reason_of(exc)}; create it, compacted"
                raise TemporaryError(f"kafka {self.config.shown}: {text}", SLOW_SECS) from exc

    def _reader(self, isolation: str) -> Any:
        own = {"group.id": self._id, "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 2}
        return Consumer({**own, "isolation.level": isolation, **self.config.client_properties()})

    def _find_marker(self) -> bytes | None:
        """The last one of this runner. After `init_transactions` no transaction of ours is open any more; of others
        there may be some, and what stands behind their beginning cannot be read before they end.
        """
        place = TopicPartition(self.config.cursor_topic, 0)
        with self._reader("read_uncommitted") as looker:
            low, high = looker.get_watermark_offsets(place, timeout=self.config.timeout_secs)
        back = LOOK_BACK
        while low < high:
            start = max(low, high - back)
            found = self._last_marker(start, high)
            if found is not None or start == low:
                return found
            back *= 10
        return None

    def _last_marker(self, start: int, end: int) -> bytes | None:
        key, found = self.context.lane.encode(), None
        deadline = time.monotonic() + self.config.timeout_secs
        with self._reader("read_committed") as reader:
            reader.assign([TopicPartition(self.config.cursor_topic, 0, start)])
            while True:
                for message in reader.consume(1_000, 0.1):
                    error = message.error()
                    if error is None:
                        if message.key() == key:
                            found = message.value()
                    elif error.name() != "_PARTITION_EOF":
                        raise TemporaryError(f"kafka {self.config.shown}: {self.config.cursor_topic}: {error.str()}")
                    elif message.offset() >= end:
                        return found
                if time.monotonic() >= deadline or self._stopping.is_set():
                    text = f"{self.config.cursor_topic} cannot be read to its end: a transaction of another is open"
                    raise TemporaryError(f"kafka {self.config.shown}: {text}")

    # ---- events ----------------------------------------------------------------------------------------------------
    async def write(self, batch: Batch) -> None:
        refused: dict[int, str] = {}
        outgoing = Outgoing()
        at = 0
        for view, body in zip(batch.views, batch.bodies, strict=True):
            if self._marker.has(view.head):
                lines = self._marker.refused(view.head)
                refused |= {at + index: lines[line] for index, line in enumerate(view.lines) if line in lines}
            else:
                keys = view.column(self.config.key) if self.config.key else None
                outgoing.add(view, body, at, self._topics(view), keys, self._headers(view))
            at += view.count
        if len(outgoing):
            refused |= await self._call(self._send, batch, outgoing)
        if refused:
            raise RejectedError(refused)

    def _topics(self, view: PackView) -> str | Sequence[str]:
        topic = self.config.topic
        return self._names.of(view) if isinstance(topic, str) else topic.of(view.head.accepted_ms)

    def _headers(self, view: PackView) -> list[tuple[str, bytes]] | None:
        if not self.config.headers:
            return None
        head, found = view.head, []
        for name, text in self.config.headers.items():
            for field in HEADER_FIELDS:
                text = text.replace("{" + field + "}", getattr(head, field))
            found.append((name, text.encode()))
        return found

    def _send(self, batch: Batch, outgoing: Outgoing) -> dict[int, str]:
        """Returns what is refused: index in the batch -> why."""
        self._failed.clear()
        refused: dict[int, str] = {}
        if not self.config.exactly_once:
            self._produce(outgoing, refused)
            while self._producer.flush(STEP_SECS):
                if self._stopping.is_set():
                    raise TemporaryError(f"kafka {self.config.shown}: stopped before all was delivered")
            self._judge()
            self._troubles.over()
            return refused
        try:
            self._producer.begin_transaction()
            self._produce(outgoing, refused)
            marker = self._marker.after(_by_pack(batch, refused))
            self._producer.produce(self.config.cursor_topic, marker.text(), key=self.context.lane.encode(), partition=0)
            self._until_done(self._producer.commit_transaction, TRANSACTION_SECS)
        except (KafkaException, TemporaryError) as exc:
            self._undo(exc)
        self._marker = marker
        self._troubles.over()
        return refused

    def _produce(self, outgoing: Outgoing, refused: dict[int, str]) -> None:
        """Hands over to the library. What it does not take at all is refused."""
        if outgoing.has_headers:
            for index, topic, key, value, headers in outgoing.messages(self._limits, refused):
                try:
                    self._producer.produce(topic, value, key=key, headers=headers)
                except KafkaException as exc:
                    self._refuse(index, topic, exc.args[0], refused)
            return
        for topic, messages in outgoing.by_topic(self._limits, refused).items():
            if self._producer.produce_batch(topic, messages) < len(messages):
                for message in messages:
                    if "_error" in message:
                        self._refuse(message["index"], topic, message["_error"], refused)

    def _refuse(self, index: int, topic: str, error: Any, refused: dict[int, str]) -> None:
        if error.name() != "MSG_SIZE_TOO_LARGE":
            raise TemporaryError(self._trouble_of(topic, error.name(), error.str()))
        refused[index] = f"larger than message.max.bytes of the producer: {error.str()}"

    def _trouble_of(self, topic: str, name: str, text: str) -> str:
        if name in ABSENT:
            text = "it is not there: create it"
        return f"kafka {self.config.shown}: topic {topic}: {text}"

    def _judge(self) -> None:
        """Raises TemporaryError when messages were not delivered. Those that are too large for their topic are left
        out at the next try.
        """
        self._producer.poll(0)
        if not self._failed:
            return
        topics = {topic for topic, name, _ in self._failed if name == "MSG_SIZE_TOO_LARGE"}
        new = [topic for topic in topics if topic not in self._limits]
        if new:
            self._learn_limits(new)
            self._begin_anew()
        if self._troubles.refused:
            raise self._troubles.refusal()
        raise TemporaryError(self._trouble_of(*self._failed[0]))

    def _learn_limits(self, topics: Sequence[str]) -> None:
        """Asks how large the messages of these topics may be."""
        admin = AdminClient({**self.config.client_properties(), "log_level": 2})
        resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
        for resource, answer in admin.describe_configs(resources, request_timeout=self.config.timeout_secs).items():
            try:
                self._limits[resource.name] = int(answer.result()["max.message.bytes"].value)
            except KafkaException as exc:
                text = f"topic {resource.name}: how large its messages may be cannot be read: {reason_of(exc)}"
                raise TemporaryError(f"kafka {self.config.shown}: {text}", SLOW_SECS) from exc

    def _begin_anew(self) -> None:
        """With a producer whose requests keep to the limits that are known now; no transaction is open."""
        self._close()
        self._producer = self._make_producer()
        if self.config.exactly_once:
            self._until_done(self._producer.init_transactions, self.config.timeout_secs)

    def _undo(self, exc: KafkaException | TemporaryError) -> NoReturn:
        """The transaction did not come to its end. If it is known to be undone the batch may simply come again; else
        the output has to be opened anew, and to look what was delivered.
        """
        is_ours = isinstance(exc, TemporaryError)
        try:
            if not is_ours and not exc.args[0].txn_requires_abort():
                raise LostTrackError(self._lost_text(exc)) from exc
            self._until_done(self._producer.abort_transaction, CONTACT_SECS)
        except KafkaException as again:
            raise LostTrackError(self._lost_text(again)) from again
        self._judge()
        if isinstance(exc, TemporaryError):
            raise exc
        raise TemporaryError(f"kafka {self.config.shown}: {self._troubles.last or reason_of(exc)}") from exc

    def _lost_text(self, exc: BaseException) -> str:
        if name_of(exc) in FENCED:
            text = f"another producer has transactional_id {self._id}, or a transaction took too long"
            return f"kafka {self.config.shown}: {text}: give each daemon another transactional_id"
        return f"kafka {self.config.shown}: {self._troubles.last or reason_of(exc)}"

    def renew(self) -> bool:
        """librdkafka takes no new certificates while it runs."""
        return self._certificates in (None, self.config.certificates())

    def status(self) -> dict[str, object]:
        known = {"transactional_id": self._id} if self.config.exactly_once else {}
        return {**known, "trouble": self._troubles.last}

    async def close(self) -> None:
        if self._producer is not None:
            self._stopping.set()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        self._producer.purge()
        self._producer.close()


def _by_pack(batch: Batch, refused: Mapping[int, str]) -> Iterator[tuple[Head, dict[int, str]]]:
    """The packs of the batch, each with the refused lines of its stored body."""
    at = 0
    for view in batch.views:
        mine = {line: refused[at + index] for index, line in enumerate(view.lines) if at + index in refused}
        yield view.head, mine
        at += view.count

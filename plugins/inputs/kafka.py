"""Input `kafka`: reads topics as a member of a consumer group.

Delivery: every message enters the journal once; how far each partition was read is stored in one write with its
events. The group's offsets are committed after that, for other tools and for the other members: a partition that comes
from another daemon goes on where that one stopped. Only after a kill whose partitions another daemon takes over, what
was not committed yet (under a second) comes in there once more.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from dpiped.api import (
    AvroReader,
    Block,
    Emit,
    EventsDropped,
    FatalPluginError,
    Input,
    KafkaInputConfig,
    KafkaPositions,
    Messages,
    Shares,
    TemporaryError,
    Troubles,
    blocks_of,
    fields_of,
    first_contact,
    is_plain,
    reason_of,
    register,
    start_of,
)

T = TypeVar("T")
MOST_MESSAGES, MOST_BYTES = 5_000, 900_000
"""Of one block, about: a larger one than 1 MiB would become two packs."""
CONTACT_SECS = 10.0
COMMIT_SECS = 0.5
LOOK_SECS = 1.0
"""How often lag and daily topics are looked at."""
ASK_SECS = 0.2
"""How long brokers that did not answer get to answer again, each time; reading waits meanwhile."""
REVOKE_SECS = 20.0
"""How long a rebalance waits for what is on its way into the journal."""
KEEP_ALIVE_SECS = 20.0
"""A member that is silent for longer than `max.poll.interval.ms` (300 s) would lose its partitions."""
STOP_SECS = 2.0


@register("kafka")
class KafkaInput(Input[KafkaInputConfig]):
    replayable: ClassVar[bool] = True
    _consumer: Any = None
    _mean_bytes = 200.0
    """Of the last messages."""
    _lag = 0
    _committed_at = 0.0
    _looked_at = 0.0
    _unstored = ""
    """Why a rebalance could not wait for what was on its way."""

    def __init__(self, config: KafkaInputConfig, context: Any) -> None:
        super().__init__(config, context)
        self._shares = Shares()
        self._troubles = Troubles(config)
        self._certificates: tuple[bytes, ...] | None = None
        self._absent: set[str] = set()
        self._subscribed: list[str] = []
        self._stored: dict[tuple[str, int], int] = {}
        """The next offset of each partition, of what is durable."""
        self._committed: dict[tuple[str, int], int] = {}
        self._marked: dict[tuple[str, int], int] = {}
        """Places that have to be in the journal, though nothing was read yet."""
        self._early: list[Any] = []
        self._idle = threading.Event()
        """Set while nothing is on its way into the journal."""
        self._idle.set()
        self._field_names = {what: name for what, name in config.fields.model_dump().items() if name}

    @classmethod
    def check(cls, config: KafkaInputConfig) -> list[str]:
        try:
            Consumer({**config.properties, "group.id": "check", "log_level": 0}).close()
        except (KafkaException, TypeError) as exc:
            return [f"properties: {reason_of(exc)}"]
        return []

    @classmethod
    def idents(cls, config: KafkaInputConfig) -> tuple[str, ...]:
        return ()

    async def open(self) -> None:
        text = self.context.start_position
        self._positions = KafkaPositions(text)
        self._first = text is None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"kafka {self.context.name}")
        self._avro = AvroReader(self.config.avro, self.config.timeout_secs) if self.config.avro else None
        await self._call(self._make)

    def _make(self) -> None:
        if self._avro is not None:
            self._avro.open()
        own: dict[str, Any] = {
            "group.id": self.config.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 32 << 10,
            "log_level": 2,
            "error_cb": self._troubles.note,
        }
        if self.config.instance:
            own["group.instance.id"] = self.config.instance
        properties = self.config.client_properties()
        if properties.get("group.protocol") != "consumer":
            own["partition.assignment.strategy"] = "cooperative-sticky"
        self._certificates = self.config.certificates()
        try:
            self._consumer = Consumer({**own, **properties})
        except (KafkaException, TypeError) as exc:
            raise FatalPluginError(f"kafka {self.config.shown}: {reason_of(exc)}") from exc

    async def _call(self, function: Callable[[], T]) -> T:
        """In the consumer's own thread; a cancelled caller waits until the call is over."""
        call = asyncio.get_running_loop().run_in_executor(self._thread, function)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait((call,))
            raise

    # ---- on the event loop -----------------------------------------------------------------------------------------
    async def run(self, emit: Emit) -> None:
        await self._call(self._start)
        storing: asyncio.Task[None] | None = None
        try:
            while True:
                blocks = await self._call(self._read)
                if storing is not None:
                    await self._wait_for(storing)
                    storing = None
                if blocks:
                    self._idle.clear()
                    storing = asyncio.create_task(self._store(emit, blocks), name="kafka blocks")
        finally:
            if storing is not None:
                await self._end(storing)

    async def _wait_for(self, storing: asyncio.Task[None]) -> None:
        """A full journal may keep it waiting for hours; the group hears of us meanwhile."""
        while not (await asyncio.wait((storing,), timeout=KEEP_ALIVE_SECS))[0]:
            await self._call(self._stand_by)
        storing.result()

    async def _end(self, storing: asyncio.Task[None]) -> None:
        """What is on its way is stored, if that goes quickly, so that it can be committed."""
        await asyncio.wait((storing,), timeout=STOP_SECS)
        storing.cancel()
        await asyncio.wait((storing,))
        self._idle.set()

    async def _store(self, emit: Emit, blocks: Sequence[Block]) -> None:
        try:
            for block in blocks:
                for place, offset in block.ends.items():
                    self._positions.put(place, offset)
                if not block.is_silent:
                    data = b"\n".join([*block.values, b""])
                    codec = self._codec_of(block, data)
                    await emit(data, source=block.topic, codec=codec, position=self._positions.text())
                self._stored.update(block.ends)
        finally:
            self._idle.set()

    def _codec_of(self, block: Block, data: bytes) -> Messages | None:
        """None: the input's own codec reads all of it in one go."""
        own = self.context.own_codec
        if own is None or not (self._field_names or block.damaged or not is_plain(block.values, data, own)):
            return None
        names = self._field_names
        fields = [fields_of(message, names) for message in block.messages] if names else ()
        return Messages(own, block.values, fields, block.damaged)

    # ---- in the consumer's thread ----------------------------------------------------------------------------------
    def _start(self) -> None:
        found = first_contact(self._consumer, self._consumer.poll, self._troubles, CONTACT_SECS)
        names = [topic for topic in self.config.plain if not topic.startswith("^")]
        self._absent = {topic for topic in names if topic not in found.topics}
        if len(self._absent) == len(self.config.topics):
            raise TemporaryError(f"kafka {self.config.shown}: no topic {', '.join(names)}: create it, or mend `topics`")
        if self._absent:
            text = "topics are not there: they are read when somebody creates them"
            self._say(text, ", ".join(sorted(self._absent)))
        self._subscribe()

    def _say(self, text: str, detail: str) -> None:
        self.context.telemetry.say(text, plugin=self.context.name, detail=detail, level=logging.WARNING)

    def _subscribe(self) -> None:
        """Again when the days go on."""
        now = int(time.time() * 1000)
        topics = [*self.config.plain, *(topic for daily in self.config.daily for topic in daily.all(now))]
        if topics == self._subscribed:
            return
        for topic in self._positions.topics:
            if topic not in topics and any(daily.names(topic) for daily in self.config.daily):
                self._positions.forget(topic)
        self._subscribed = topics
        self._consumer.subscribe(
            topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=partial(self._on_revoke, lost=True)
        )

    def _read(self) -> list[Block]:
        """The next blocks, one for each topic; none when nothing came for `linger_secs`."""
        room = int(max(1, min(MOST_MESSAGES, MOST_BYTES / self._mean_bytes)))
        found, self._early = self._early, []
        found += self._consumer.consume(room, self.config.linger_secs)
        blocks = self._blocks(found)
        if self._unstored:
            raise TemporaryError(self._unstored)
        if self._marked:
            blocks.insert(0, Block("", (), (), self._marked, {}))
            self._marked = {}
        self._now_and_then()
        return blocks

    def _blocks(self, found: Sequence[Any]) -> list[Block]:
        """What is wanted of these messages; errors among them are judged."""
        for message in found:
            if message.error() is not None:
                self._note(message)
        blocks, tombstones = blocks_of(found, self._shares, self._avro)
        if tombstones:
            self.context.telemetry.metrics.noted.labels(self.context.name, "tombstone").inc(tombstones)
        count = sum(len(block.values) for block in blocks)
        if count:
            self._mean_bytes = 1.0 + sum(len(value) for block in blocks for value in block.values) / count
        return blocks

    def _note(self, message: Any) -> None:
        """An error in place of a message."""
        error: KafkaError = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            return
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC) and not error.fatal():
            if message.topic() in self.config.topics:
                self._absent.add(message.topic())
            return
        topic = f" topic {message.topic()}:" if message.topic() else ""
        raise TemporaryError(f"kafka {self.config.shown}:{topic} {error.str()}")

    def _stand_by(self) -> None:
        """Tells the group that we live, while the journal takes nothing."""
        paused = [TopicPartition(*place) for place in self._shares.all()]
        self._consumer.pause(paused)
        self._early += self._consumer.consume(100, 0.2)
        self._consumer.resume([place for place in paused if (place.topic, place.partition) in self._shares])
        if self._unstored:
            raise TemporaryError(self._unstored)

    def _now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._committed_at >= COMMIT_SECS:
            self._committed_at = now
            self._commit(self._shares.all(), wait=False)
        if now - self._looked_at >= LOOK_SECS:
            self._looked_at = now
            self._look()
            if self.config.daily:
                self._subscribe()

    def _look(self) -> None:
        lag = 0
        for place, wanted in self._shares.all().items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True) or (0, 0)
            lag += max(0, high - wanted)
            self._absent.discard(place[0])
        self._lag = lag
        if self._troubles.is_down:
            self._ask_again()
        self.context.telemetry.metrics.source_lag.labels(self.context.name).set(lag)

    def _ask_again(self) -> None:
        """Whether the brokers are back. Raises TemporaryError when they are, and turn us away."""
        try:
            self._consumer.list_topics(timeout=ASK_SECS)
        except KafkaException:
            if self._troubles.refused:
                raise self._troubles.refusal() from None
        else:
            self._troubles.over()

    def _commit(self, places: Mapping[tuple[str, int], int], *, wait: bool) -> None:
        """Tells the group what is durable; that it fails harms nobody, for the journal knows better."""
        if not self.context.durable or self._troubles.is_down:
            return
        new = {place: self._stored[place] for place in places if place in self._stored}
        new = {place: offset for place, offset in new.items() if self._committed.get(place) != offset}
        if not new:
            return
        offsets = [TopicPartition(*place, offset) for place, offset in new.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=not wait)
        except KafkaException as exc:
            self.context.telemetry.say("offsets not committed", plugin=self.context.name, detail=reason_of(exc))
        else:
            self._committed.update(new)

    # ---- rebalances: called inside of `consume` and `close` ---------------------------------------------------------
    def _on_assign(self, consumer: Any, partitions: Sequence[Any]) -> None:
        secs = self.config.timeout_secs
        try:
            asked = consumer.committed(list(partitions), timeout=secs) if self.context.durable else []
            committed = {(one.topic, one.partition): one.offset for one in asked if one.offset >= 0}
            edges = [consumer.get_watermark_offsets(one, timeout=secs) for one in partitions]
        except KafkaException as exc:
            raise TemporaryError(f"kafka {self.config.shown}: offsets of the group: {reason_of(exc)}") from exc
        starts = []
        for one, (low, high) in zip(partitions, edges, strict=True):
            place = (one.topic, one.partition)
            at_end = self.config.start == "latest" and self._first and not self._positions.knows(one.topic)
            known = self._stored.get(place, self._positions.get(place))
            start = start_of(known, committed.get(place), low, high, at_end=at_end)
            self._tell(place, start.gone, anew=start.anew)
            self._shares.add(place, start.offset)
            if at_end and known is None:
                self._marked[place] = start.offset
            starts.append(TopicPartition(one.topic, one.partition, start.offset))
        self._first = self._first and not partitions
        consumer.incremental_assign(starts)
        self._troubles.over()

    def _tell(self, place: tuple[str, int], gone: int, *, anew: bool) -> None:
        shown = f"{place[0]} partition {place[1]}"
        if anew:
            self._say("a topic was made anew: it is read from its start", shown)
        if gone:
            self._say("messages were deleted in Kafka before they were read", f"{gone} of {shown}")
            self.context.telemetry.emit(EventsDropped(plugin=self.context.name, amount=gone, reason="gone_in_kafka"))

    def _on_revoke(self, consumer: Any, partitions: Sequence[Any], *, lost: bool = False) -> None:
        """What is on its way is stored and committed before another member may begin."""
        if not self._idle.wait(REVOKE_SECS):
            self._unstored = "a rebalance came while the journal took nothing: reading begins anew"
        places = [(one.topic, one.partition) for one in partitions]
        if not lost:
            self._commit(dict.fromkeys(places, 0), wait=True)
        for place in places:
            self._shares.remove(place)
        consumer.incremental_unassign(list(partitions))

    async def close(self) -> None:
        thread: ThreadPoolExecutor | None = getattr(self, "_thread", None)
        if thread is None:
            return
        if self._consumer is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._consumer.close)
            self._consumer = None
        thread.shutdown(wait=False)

    def renew(self) -> bool:
        """librdkafka takes no new certificates while it runs."""
        return self._certificates in (None, self.config.certificates())

    def status(self) -> dict[str, object]:
        more = {"absent_topics": sorted(self._absent)} if self._absent else {}
        return {"partitions": len(self._shares), "lag": self._lag, "trouble": self._troubles.last, **more}

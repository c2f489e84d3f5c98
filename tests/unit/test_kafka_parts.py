"""What the input and output `kafka` are made of: positions, shares, topics, markers, messages, Avro. No broker."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from aiohttp import web
from confluent_kafka import KafkaError
from pydantic import ValidationError

from dpiped.codecs import DecodeContext, build_codec
from dpiped.codecs.times import TimeSpec
from dpiped.errors import DpipeError, FatalPluginError, TemporaryError
from dpiped.kafka import (
    AvroReader,
    DailyTopics,
    KafkaInputConfig,
    KafkaOutputConfig,
    KafkaPositions,
    Marker,
    Messages,
    Shares,
    blocks_of,
    check_topic,
    is_plain,
    start_of,
    topic_names,
)
from dpiped.kafka.avro import AvroConfig, DamagedMessageError
from dpiped.pack import Head
from dpiped.projection import Projection
from dpiped.testing import body_of, view_of
from dpiped.view import PackView

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
AT = 19_700 * DAY_MS
"""2023-12-09."""


@pytest.mark.parametrize("partitions", [3, 1_000])
def test_positions_read_back_are_the_same(partitions: int) -> None:
    positions = KafkaPositions()
    for number in range(partitions):
        positions.put(("topic-a", number), number * 10)
    positions.put(("b", 0), 7)
    positions.forget("b")
    again = KafkaPositions(positions.text())
    assert again.get(("topic-a", 2)) == 20
    assert again.get(("b", 0)) is None
    assert again.text() == positions.text()
    assert len(positions.text()) < 6_000 + partitions


@pytest.mark.parametrize("text", ["", "{", "zzz", '{"version":2,"topics":{}}', '{"version":1,"topics":[]}'])
def test_a_position_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(DpipeError, match="position in Kafka"):
        KafkaPositions(text)


@pytest.mark.parametrize(
    ("known", "committed", "low", "high", "at_end", "expected"),
    [
        (None, None, 5, 9, False, (5, 0, False)),
        (None, None, 5, 9, True, (9, 0, False)),
        (7, None, 5, 9, True, (7, 0, False)),
        (7, 6, 5, 9, False, (7, 0, False)),
        (6, 8, 5, 9, False, (8, 0, False)),
        (3, None, 5, 9, False, (5, 2, False)),
        (12, None, 5, 9, False, (5, 0, True)),
    ],
)
def test_where_a_partition_goes_on(
    known: int | None, committed: int | None, low: int, high: int, at_end: bool, expected: tuple[int, int, bool]
) -> None:
    assert start_of(known, committed, low, high, at_end=at_end) == expected


def test_what_was_fetched_before_a_rebalance_is_taken_once() -> None:
    shares = Shares()
    place = ("t", 0)
    assert list(shares.accept(place, [0, 1])) == []
    shares.add(place, 10)
    assert list(shares.accept(place, [8, 9, 10, 11])) == [2, 3]
    assert list(shares.accept(place, [12, 15])) == [0, 1]  # compacted between
    assert list(shares.accept(place, [16, 17, 16, 17, 18])) == [0, 1, 4]
    assert shares.all() == {place: 19}
    shares.remove(place)
    assert list(shares.accept(place, [19])) == []


class Fetched:
    """A message as the library gives it, or the end of its partition in place of one."""

    def __init__(self, offset: int, value: bytes | None = None, *, is_end: bool = False) -> None:
        self.offset, self.value = lambda: offset, lambda: value
        self.error = lambda: KafkaError(KafkaError._PARTITION_EOF) if is_end else None
        self.topic, self.partition = lambda: "t", lambda: 0


def test_what_ends_a_transaction_is_no_message_that_was_not_read() -> None:
    shares, place = Shares(), ("t", 0)
    shares.add(place, 10)
    blocks, tombstones = blocks_of([Fetched(10, b"a"), Fetched(11), Fetched(13, is_end=True)], shares, None)
    assert [(block.values, block.ends, block.is_silent) for block in blocks] == [
        ([b"a"], {place: 12}, False),
        ((), {place: 13}, True),
    ]
    assert (tombstones, shares.all()) == (1, {place: 13})
    assert blocks_of([Fetched(13, is_end=True)], shares, None) == ([], 0)
    shares.remove(place)
    assert blocks_of([Fetched(15, is_end=True)], shares, None) == ([], 0)


def view(events: list[dict[str, Any]], fields: list[str], **head: Any) -> PackView:
    body = body_of({"@timestamp": AT, **event} for event in events)
    return view_of(body, fields, **{"project": "rs", "ident": "rs.web", **head})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("logs", "logs"),
        ("logs.{project}.{ident}", "logs.rs.rs.web"),
        ("{prefix}-%Y%m%d", "pre-rs-20231209"),
        ("logs-{host}", "logs-none"),
        ("logs-{a}", ["logs-x", "logs-.._.._etc", "logs-none", "logs-_a_b_"]),
    ],
)
def test_topics_keep_to_what_the_config_names(text: str, expected: object) -> None:
    names = topic_names(check_topic(text), lambda project: f"pre-{project}")
    events = [{"a": "x"}, {"a": "../../etc"}, {}, {"a": "{a}b%"}]
    assert names.of(view(events, ["a"])) == expected


def test_topics_of_two_days() -> None:
    names = topic_names("t-%d", str)
    assert names.of(view([{"@timestamp": AT}, {"@timestamp": AT + DAY_MS}], [])) == ["t-09", "t-10"]


@pytest.mark.parametrize("text", ["", "{a}-x", "a b", "t-%Q", "t-{}", "../x", "ä"])
def test_topics_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|unknown|topics"):
        check_topic(text)


def test_daily_topics_change_at_their_hour() -> None:
    daily = DailyTopics(format="alerts_%s", retention_days=2)
    assert daily.of(AT + 21 * HOUR_MS) == "alerts_20231209"
    assert daily.of(AT + 22 * HOUR_MS) == "alerts_20231210"
    assert daily.all(AT + 21 * HOUR_MS) == ["alerts_20231207", "alerts_20231208", "alerts_20231209"]
    assert daily.all(AT + 22 * HOUR_MS)[-1] == "alerts_20231210"
    assert DailyTopics(format="a%s", change_hour=0).of(AT) == "a20231209"
    assert daily.names("alerts_20200101")
    assert not daily.names("alerts_x")


def head(epoch: str, offset: int) -> Head:
    return Head(epoch=epoch, offset=offset)


def test_a_marker_knows_packs_by_epoch_and_offset() -> None:
    marker = Marker().after([(head("a", 4), {}), (head("b", 9), {3: "too large"})])
    again = Marker(marker.text())
    assert again.has(head("a", 4))
    assert not again.has(head("a", 5))
    assert again.has(head("b", 9))
    assert not again.has(head("c", 0)), "a journal that begins anew"
    assert again.refused(head("b", 9)) == {3: "too large"}
    assert again.refused(head("a", 4)) == {}
    assert again.after([(head("b", 10), {})]).refused(head("b", 9)) == {}


def test_a_marker_forgets_epochs_long_ago() -> None:
    marker = Marker()
    for number in range(150):
        marker = marker.after([(head(f"{number:03}", number), {})])
    assert marker.has(head("149", 149))
    assert not marker.has(head("000", 0))
    assert len(marker.text()) < 3_000


@pytest.mark.parametrize("text", [b"", b"[]", b'{"version":9}'])
def test_a_marker_that_is_none_is_an_error(text: bytes) -> None:
    with pytest.raises(DpipeError, match="marker"):
        Marker(text)


def decode(codec: Any, values: list[bytes], fields: Any = (), damaged: Any = None) -> Any:
    messages = Messages(build_codec(codec), values, fields, damaged)
    return messages.decode(b"\n".join([*values, b""]), DecodeContext(1, Projection.of([])))


def events_of(decoded: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for part in decoded.parts for line in part.body.split(b"\n")[:-1]]


def test_each_message_is_read_by_itself() -> None:
    values = [b'{"n":1}', b'{"n":', b'[{"n":2},\n{"n":3}]', b"x", b'{\n"n":4}']
    assert not is_plain(values, b"\n".join([*values, b""]), build_codec("json"))
    decoded = decode("json", values, damaged={3: "no Avro"})
    assert [event["n"] for event in events_of(decoded)] == [1, 2, 3, 4]
    assert [(bad.line, bad.raw) for bad in decoded.rejected] == [(2, b'{"n":'), (4, b"x")]
    assert decoded.parts[0].count == 4


def test_fields_are_added_and_what_the_event_says_stays() -> None:
    fields = [{"k": b'"a"'}, {"k": b'"b"', "o": b"2"}]
    found = events_of(decode("json", [b'{"n":1,"k":0}', b'{"n":2,"t":"\\"k\\""}'], fields))
    assert [(one["n"], one["k"], one.get("o")) for one in found] == [(1, 0, None), (2, "b", 2)]
    assert [one["k"] for one in events_of(decode("raw", [b"x\ny", b"z"], fields))] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("codec", "values", "owners"),
    [
        ("raw", [b"", b"x\ny"], [1, 1]),
        ("json", [b'{"n":1}{"n":2}', b""], [0, 0]),
        ("json", [b'{"@timestamp":1700000000000,\r"n":1}', b'{"@timestamp":1700000000000,"n":2}'], [0, 1]),
    ],
)
def test_fields_go_to_the_events_of_their_own_message(codec: str, values: list[bytes], owners: list[int]) -> None:
    found = events_of(decode(codec, values, [{"owner": b"%d" % index} for index in range(len(values))]))
    assert [event["owner"] for event in found] == owners


@pytest.mark.parametrize("path", ["sent", "more.at"])
def test_the_time_of_an_event_may_stand_in_a_field_of_its_message(path: str) -> None:
    fields = [{"sent": b"%d" % (AT + n), "more": b'{"at":"%d"}' % (AT + n)} for n in range(2)]
    context = DecodeContext(1, Projection.of([]), TimeSpec(path, "unix_ms"))
    for codec, values in (("raw", [b"x", b"y"]), ("json", [b'{"n":1}', b'[{"n":2}]'])):
        decoded = Messages(build_codec(codec), values, fields).decode(b"\n".join([*values, b""]), context)
        assert [event["@timestamp"] for event in events_of(decoded)] == [AT, AT + 1]
        assert (decoded.parts[0].min_ts, decoded.parts[0].max_ts) == (AT, AT + 1)
        assert not decoded.counts["time_missing"]


@pytest.mark.parametrize(
    ("codec", "values"),
    [
        ("json", [b'{"n":1}', b'{"n":', b'"x"}', b'{"n":2}']),
        ({"type": "csv", "columns": ["n", "text"]}, [b"1,a", b'2,"open', b'3,"shut"', b"4,b"]),
    ],
)
def test_no_message_goes_on_in_the_next(codec: Any, values: list[bytes]) -> None:
    data = b"\n".join([*values, b""])
    assert not is_plain(values, data, build_codec(codec))
    decoded = decode(codec, values)
    assert [bad.raw for bad in decoded.rejected] == [
        value for value in values if value in (b'{"n":', b'"x"}', b'2,"open')
    ]
    assert len(events_of(decoded)) + len(decoded.rejected) == len(values)


SCHEMA = {
    "type": "record",
    "name": "event",
    "fields": [
        {"name": "n", "type": "int"},
        {"name": "raw", "type": "bytes"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
EVENT = {"n": 7, "raw": b"\xff", "at": 1_700_000_000_000}
AS_JSON = {"n": 7, "raw": "/w==", "at": "2023-11-14T22:13:20+00:00"}


def written(prefix: bytes = b"") -> bytes:
    out = io.BytesIO(prefix)
    out.seek(len(prefix))
    fastavro.schemaless_writer(out, SCHEMA, EVENT)
    return out.getvalue()


def reader(**config: Any) -> AvroReader:
    made = AvroReader(AvroConfig(**config), 5.0)
    made.open()
    return made


def test_avro_by_the_schema_of_a_file_or_its_own(tmp_path: Path) -> None:
    file = tmp_path / "event.avsc"
    file.write_text(json.dumps(SCHEMA), encoding="utf-8")
    made = reader(schema_file=str(file))
    assert json.loads(made.read(written())) == AS_JSON
    container = io.BytesIO()
    fastavro.writer(container, SCHEMA, [EVENT, EVENT])
    assert [json.loads(line) for line in made.read(container.getvalue()).splitlines()] == [AS_JSON, AS_JSON]
    for bad in (b"", b"\x01", b"Obj\x01 damaged"):
        with pytest.raises(DamagedMessageError, match="Avro"):
            made.read(bad)


async def test_avro_by_a_registry() -> None:
    import asyncio

    async def schema(request: web.Request) -> web.Response:
        number = request.match_info["id"]
        if number == "1":
            return web.json_response({"schema": json.dumps(SCHEMA)})
        return web.Response(status=404 if number == "2" else 500)

    app = web.Application()
    app.router.add_get("/schemas/ids/{id}", schema)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = reader(registry=f"http://127.0.0.1:{runner.addresses[0][1]}")
    value = await asyncio.to_thread(made.read, written(b"\x00\x00\x00\x00\x01"))
    assert json.loads(value) == AS_JSON
    with pytest.raises(DamagedMessageError, match="knows no schema 2"):
        await asyncio.to_thread(made.read, written(b"\x00\x00\x00\x00\x02"))
    with pytest.raises(TemporaryError, match="answered 500"):
        await asyncio.to_thread(made.read, written(b"\x00\x00\x00\x00\x03"))
    with pytest.raises(DamagedMessageError, match="id of a schema"):
        made.read(b"{}")
    await runner.cleanup()


@pytest.mark.parametrize(("text", "told"), [(None, "No such file"), ("{", "no Avro schema"), ('{"a":1}', "no Avro")])
def test_a_schema_that_cannot_be_used(text: str | None, told: str, tmp_path: Path) -> None:
    file = tmp_path / "event.avsc"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(FatalPluginError, match=told):
        reader(schema_file=str(file))


INPUT: dict[str, Any] = {"brokers": ["a:1"], "topics": ["t"], "group": "g"}
OUTPUT: dict[str, Any] = {"brokers": ["a:1"], "topic": "t"}


@pytest.mark.parametrize(
    ("config", "given", "told"),
    [
        (KafkaInputConfig, {**INPUT, "brokers": ["a"]}, "HOST:PORT"),
        (KafkaInputConfig, {**INPUT, "topics": ["a b"]}, "expected a topic"),
        (KafkaInputConfig, {**INPUT, "topics": ["^("]}, "pattern of topics"),
        (KafkaInputConfig, {**INPUT, "topics": []}, "at least 1 item"),
        (KafkaInputConfig, {**INPUT, "user": "u"}, "user and password"),
        (KafkaInputConfig, {**INPUT, "properties": {"group.id": "x"}}, "set by dpipe"),
        (KafkaInputConfig, {**INPUT, "properties": {"sasl.password": "x"}}, "secret_properties"),
        (KafkaInputConfig, {**INPUT, "tls": {"ca": "x"}}, 'security = "tls"'),
        (KafkaInputConfig, {**INPUT, "topics": [{"format": "x"}]}, "one %s"),
        (KafkaInputConfig, {**INPUT, "fields": {"timestamp": "@timestamp"}}, "another name"),
        (KafkaInputConfig, {**INPUT, "fields": {"key": "_k", "topic": "_k"}}, "of its own"),
        (KafkaInputConfig, {**INPUT, "topics": [{"format": "x%s", "date_format": "%H"}]}, "time codes of a day"),
        (KafkaOutputConfig, {**OUTPUT, "topic": "{host}"}, "begins with a letter"),
        (KafkaOutputConfig, {**OUTPUT, "headers": {"a": "{b}"}}, "unknown field {b}"),
    ],
)
def test_mistakes_in_a_config_are_told(config: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config(**given)


def test_secrets_are_in_no_text() -> None:
    config = KafkaInputConfig(
        **INPUT, user="u", password="hunter22", secret_properties={"ssl.key.password": "hunter33"}
    )
    assert "hunter" not in repr(config)
    found = config.client_properties()
    assert (found["sasl.password"], found["ssl.key.password"]) == ("hunter22", "hunter33")
    assert found["security.protocol"] == "sasl_plaintext"
